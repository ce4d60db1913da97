//! The paused holder: why a lock alone protects nothing, and what does.
//!
//! `cargo run --release --example paused_holder`
//!
//! A worker takes a lock, reads the balance, and is stopped (SIGSTOP) before it writes it back: by a
//! debugger, a garbage collector, a hypervisor, a laptop's lid. Its lease runs out, another worker takes
//! the lock and books 50. Then the first one goes on where it was, and writes what it had computed.
//!
//! Twice: without a guard, which loses the other's booking; and with the guard, which has the late write
//! refused with `LOCK_LOST`. The workers are this program, started again.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use quorate::{
    client::Client,
    recipes::{KvApi, LockOptions, Recipes},
    types::{CallOptions, Consistency, KeyRange, Put, Range},
};
use rustix::process::{Pid, Signal, kill_process};

#[path = "common/mod.rs"]
mod common;

const TTL: Duration = Duration::from_secs(2);

/// Balances: workers write this one with the guard, and this one without.
const GUARDED: &str = "guarded";
const UNGUARDED: &str = "unguarded";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work", key, amount, endpoints] => work(key, amount.parse()?, endpoints).await,
        _ => demonstrate().await,
    }
}

/// Books an amount under the lock: reads, waits for a line, writes; if the key says so, with the guard.
async fn work(key: &str, amount: u64, endpoints: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(endpoints.split(','))?;
    let lock = LockOptions { ttl: TTL, ..LockOptions::new(format!("{key}/lock")) };
    let guard = client.lock(lock).await?;
    let balance = balance(&client, key).await?;
    assert!(guard.is_held(), "it looks before it writes; that does not help");
    println!("holds the lock (token {}) and has read {balance}", guard.token());
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let put =
        Put { key: key.to_owned().into(), value: (balance + amount).to_string().into(), ..Put::default() };
    let written = match key {
        GUARDED => client.guarded(&guard).put(put, CallOptions::default()).await,
        _ => client.put(put, CallOptions::default()).await,
    };
    match written {
        Ok(_) => println!("has written {}", balance + amount),
        Err(error) => println!("is refused: {} ({error})", error.reason().to_uppercase()),
    }
    Ok(())
}

async fn balance(client: &Client, key: &str) -> Result<u64, Box<dyn Error>> {
    let range = Range::new(KeyRange::key(key.to_owned()));
    let answer = client.range(range, Consistency::default(), CallOptions::default()).await?;
    let value = answer.result.kvs.first().ok_or("no balance")?.value.clone();
    Ok(String::from_utf8_lossy(&value).parse()?)
}

/// A worker's process; what it says is told with its name. It ends with this one.
struct Worker {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(name: &'static str, key: &str, amount: &str, endpoints: &str) -> Result<Worker, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["work", key, amount, endpoints]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("pipes")?;
        Ok(Worker { name, child, input, output: BufReader::new(output) })
    }

    /// Waits for its next line, and tells it.
    fn says(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        println!("  {} {}", self.name, line.trim_end());
        Ok(line)
    }

    fn go_on(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(self.input.write_all(b"\n")?)
    }

    fn signal(&self, signal: Signal) -> Result<(), Box<dyn Error>> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn demonstrate() -> Result<(), Box<dyn Error>> {
    let cluster = common::LocalCluster::start().await?;
    let client = Client::connect(cluster.endpoints.clone())?;
    let endpoints = cluster.endpoints.join(",");
    let without = tell_the_story(&client, UNGUARDED, &endpoints).await?;
    println!("  the balance is {without}: the booking of 50 is lost, and nobody knows\n");
    let with = tell_the_story(&client, GUARDED, &endpoints).await?;
    println!("  the balance is {with}: nothing is lost, and the late worker knows that it must begin anew");
    assert_eq!((without, with), (110, 150));
    Ok(())
}

/// The balance in the end.
async fn tell_the_story(client: &Client, key: &str, endpoints: &str) -> Result<u64, Box<dyn Error>> {
    let put = Put { key: key.to_owned().into(), value: "100".into(), ..Put::default() };
    client.put(put, CallOptions::default()).await?;
    println!("{key}: the balance is 100");
    let mut early = Worker::start("worker 1", key, "10", endpoints)?;
    early.says()?;
    early.signal(Signal::STOP)?;
    println!("  worker 1 is stopped (SIGSTOP); its lease of {TTL:?} runs out");
    let mut late = Worker::start("worker 2", key, "50", endpoints)?;
    late.says()?;
    late.go_on()?;
    late.says()?;
    early.signal(Signal::CONT)?;
    println!("  worker 1 goes on (SIGCONT)");
    early.go_on()?;
    early.says()?;
    balance(client, key).await
}
