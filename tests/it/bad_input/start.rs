//! A member that cannot start ends soon, with one line that says what to do about it.

use std::{fs, net::TcpListener, process::Command};

use super::one_member;
use crate::support::{
    cli::{self, Done},
    cluster::{Cluster, Spec},
};

/// The exit code of a configuration that makes no sense.
const USAGE: i32 = 2;
/// The exit code of a start that failed.
const FAILED: i32 = 3;

/// The member refuses to start with this exit code, and says all of these words.
fn refuses(command: Command, code: i32, words: &[&str]) -> Done {
    let done = cli::finish(command).expect(code);
    let said = format!("{}{}", done.stdout, done.stderr);
    for word in words {
        assert!(said.contains(word), "it should say {word:?}: {done:?}");
    }
    assert!(!said.contains("panicked"), "{done:?}");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_of_another_member_is_refused() {
    let spec = Spec { members: 3, ..Spec::default() };
    let mut cluster = Cluster::start(spec).await;
    cluster.kill(1);
    cluster.kill(2);
    let command = cluster.serve_command_on(&cluster.data_dir(1), 2, &[]);
    refuses(command, FAILED, &["member 1", "2"]);
    cluster.launch_all(&[]);
    cluster.wait_all_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused() {
    let cluster = one_member().await;
    refuses(cluster.serve_command(1, &[]), FAILED, &[]);
    super::is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupied_port_is_named() {
    for peer in [false, true] {
        let cluster = Cluster::prepare(Spec { members: 1, ..Spec::default() }).await;
        let addr = if peer { cluster.peer_addr(1) } else { cluster.client_addr(1) };
        let _occupied = TcpListener::bind(addr).expect("a free port");
        refuses(cluster.serve_command(1, &[]), FAILED, &[addr]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_is_named() {
    let cluster = Cluster::prepare(Spec { members: 1, ..Spec::default() }).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("a-file");
    fs::write(&file, "in the way").expect("a file");
    refuses(cluster.serve_command_on(&file.join("data"), 1, &[]), FAILED, &["a-file"]);
    refuses(cluster.serve_command_on(&file, 1, &[]), FAILED, &["a-file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_at_other_addresses_than_its_cluster_knows_is_refused() {
    let mut cluster = one_member().await;
    cluster.kill(1);
    let elsewhere = Cluster::prepare(Spec { members: 1, ..Spec::default() }).await;
    let words = ["addresses cannot change", cluster.peer_addr(1), elsewhere.peer_addr(1)];
    refuses(elsewhere.serve_command_on(&cluster.data_dir(1), 1, &[]), FAILED, &words);
    cluster.launch(1, &[]);
    cluster.wait_ready(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_the_files_of_others_is_left_alone() {
    let cluster = Cluster::prepare(Spec { members: 1, ..Spec::default() }).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("thesis.tex"), "ten years").expect("a file");
    let words = ["not empty and not a quorate data directory", "thesis.tex"];
    refuses(cluster.serve_command_on(dir.path(), 1, &[]), FAILED, &words);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing was added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_makes_no_sense_is_explained() {
    let cluster = Cluster::prepare(Spec { members: 3, ..Spec::default() }).await;
    let dir = cluster.data_dir(1);
    refuses(cluster.serve_command_on(&dir, 9, &[]), USAGE, &["9"]);
    refuses(cluster.serve_command_on(&dir, 0, &[]), USAGE, &["id"]);
    refuses(cluster.serve_command(1, &["--heartbeat", "10s"]), USAGE, &["heartbeat"]);
    refuses(cluster.serve_command(1, &["--heartbeat", "soon"]), USAGE, &["heartbeat"]);
    refuses(cluster.serve_command(1, &["--member", "no-address"]), USAGE, &["no-address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_kind_is_refused() {
    let mut cluster = one_member().await;
    cluster.kill(1);
    let dir = cluster.data_dir(1);
    let other = Cluster::prepare(Spec { members: 1, log_store: "sled", ..Spec::default() }).await;
    refuses(other.serve_command_on(&dir, 1, &[]), FAILED, &["wal", "sled"]);
}
