//! Puts unique keys until it is ended, and prints each key once its write is acknowledged: what scripts
//! compare with what is there afterwards. No key is written twice.
//!
//! `load ENDPOINTS PREFIX [WRITERS]`, with the endpoints separated by commas.

use std::{env, process::exit, time::Duration};

use quorate::{
    client::{Client, ClientBuilder},
    error::Error,
    recipes::KvApi,
    types::{CallOptions, Put},
};
use tokio::task::JoinSet;

/// Writers at a time, unless told otherwise.
const WRITERS: usize = 8;
/// Bytes of each value.
const VALUE_BYTES: usize = 256;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [endpoints, prefix, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: load ENDPOINTS PREFIX [WRITERS]");
        exit(2);
    };
    let writers = rest.first().map_or(Ok(WRITERS), |text| text.parse());
    let (Ok(client), Ok(writers)) =
        (ClientBuilder::new(endpoints.split(',')).sessions(false).build(), writers)
    else {
        eprintln!("load: the endpoints or the number of writers make no sense");
        exit(2);
    };
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        tasks.spawn(write(client.clone(), format!("{prefix}{writer}/")));
    }
    tasks.join_all().await;
}

async fn write(client: Client, prefix: String) {
    for number in 0u64.. {
        let key = format!("{prefix}{number:08}");
        match put(&client, &key).await {
            Ok(()) => println!("{key}"),
            // Whether it is there is unknown: it is neither repeated nor printed.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn put(client: &Client, key: &str) -> Result<(), Error> {
    let value = vec![b'v'; VALUE_BYTES].into();
    let put = Put { key: key.to_owned().into(), value, ..Put::default() };
    client.put(put, CallOptions::default()).await.map(|_| ())
}
