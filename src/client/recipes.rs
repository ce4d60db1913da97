//! What the recipes ask of a client besides keys, leases and watches.

use super::Client;
use crate::{env::Env, recipes::Api, types::Limits};

impl Api for Client {
    fn env(&self) -> &Env {
        &self.inner.settings.env
    }

    /// The default: what the members are configured to is not known here, and they do not see the recipe.
    fn lock_permits_max(&self) -> u32 {
        Limits::default().lock_permits_max
    }

    fn outlives_members(&self) -> bool {
        true
    }
}
