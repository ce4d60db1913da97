//! Puts, gets, both, transactions of one key, and of many; leases.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Shared, random};
use crate::bench::{
    keys::Random,
    options::Workload,
    wire::{Failed, Wire},
};

/// How long a granted lease lives: past what is measured beside so many leases.
const LEASE_TTL: Duration = Duration::from_secs(120);

pub(super) async fn client(shared: Arc<Shared>, mut wire: Wire, number: usize) {
    let mut random = random(number);
    while let Some(began) = shared.pace.turn().await {
        let result = operate(&shared, &mut wire, &mut random).await;
        shared.done(number, began, result).await;
    }
}

async fn operate(shared: &Shared, wire: &mut Wire, random: &mut Random) -> Result<(), Failed> {
    let keys = &shared.keys;
    match shared.options.workload {
        _ if shared.is_get(random) => wire.get(keys.choose(random)).await,
        Workload::Txn => wire.put_all(vec![(keys.choose(random), keys.value(random))], true).await,
        Workload::Bulk => {
            let batch = shared.options.data.batch();
            let first = shared.next.fetch_add(batch, Ordering::Relaxed);
            wire.put_all(keys.run(first, batch, random), false).await
        }
        Workload::Lease => wire.grant(LEASE_TTL).await,
        _ => wire.put(keys.choose(random), keys.value(random)).await,
    }
}
