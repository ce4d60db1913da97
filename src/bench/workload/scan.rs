//! Streams of all keys.

use std::sync::Arc;

use futures::StreamExt;

use super::Shared;
use crate::{
    bench::wire::{Failed, Wire},
    error::Error,
    types::{CallOptions, Scan},
};

pub(super) async fn client(shared: Arc<Shared>, wire: Wire, number: usize) {
    while let Some(began) = shared.pace.turn().await {
        let result = match scan(&shared, &wire).await {
            Ok(found) if found != shared.options.data.keys => Err(Failed("not_found")),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        shared.done(number, began, result).await;
    }
}

/// How many keys there are.
async fn scan(shared: &Shared, wire: &Wire) -> Result<u64, Error> {
    let scan = Scan { keys: shared.keys.all(), revision: 0, keys_only: false };
    let options = CallOptions::default();
    let mut answer = wire.client()?.scan(scan, shared.options.consistency, options).await?;
    let mut found = 0;
    while let Some(chunk) = answer.chunks.next().await {
        found += chunk?.len() as u64;
    }
    Ok(found)
}
