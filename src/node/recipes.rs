//! What the recipes ask of a member besides keys, leases and watches.

use super::Node;
use crate::{env::Env, recipes::Api};

impl Api for Node {
    fn env(&self) -> &Env {
        &self.inner.env
    }

    fn lock_permits_max(&self) -> u32 {
        self.inner.config.limits.lock_permits_max
    }

    fn outlives_members(&self) -> bool {
        false
    }
}
