//! `status members hash`: ask the members, print what each says.

use std::{
    collections::BTreeMap,
    future::Future,
    io::{self, Write},
    time::Duration,
};

use futures::future::join_all;
use serde::Serialize;

use super::{
    Failure, Outcome, Session,
    args::{HashArgs, OutputForm, StatusArgs},
    output::{self, HashObject, MembersObject, StatusObject, Unreachable},
};
use crate::{
    client::{self, Client},
    error::Error,
    pb::v1,
    types::CallOptions,
};

/// How long `members` waits for the other endpoints to say which cluster they belong to.
const CLUSTER_TIMEOUT: Duration = Duration::from_millis(500);

/// What each endpoint said.
type Answers<T> = Vec<(String, Result<T, Error>)>;

/// An element of a JSON array with one element per endpoint.
#[derive(Serialize)]
#[serde(untagged)]
enum Element<'a, T> {
    Answer(T),
    Unreachable(Unreachable<'a>),
}

/// Asks all endpoints at the same time.
async fn ask_each<T, F>(session: &Session<'_>, ask: impl Fn(Client, String, CallOptions) -> F) -> Answers<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let endpoints = session.client.endpoints();
    let calls =
        endpoints.iter().map(|endpoint| ask(session.client.clone(), endpoint.clone(), session.options()));
    let answers = join_all(calls).await;
    endpoints.into_iter().zip(answers).collect()
}

/// The answers as a JSON array.
fn print_json<'a, T, O: Serialize>(
    out: &mut dyn Write,
    answers: &'a Answers<T>,
    object: impl Fn(&'a str, &'a T) -> O,
) -> io::Result<()> {
    let element = |(endpoint, answer): &'a (String, Result<T, Error>)| match answer {
        Ok(answer) => Element::Answer(object(endpoint, answer)),
        Err(error) => Element::Unreachable(Unreachable::new(endpoint, error)),
    };
    output::json(out, &answers.iter().map(element).collect::<Vec<_>>())
}

/// `status`
pub(super) async fn status(session: &mut Session<'_>, args: StatusArgs) -> Result<Outcome, Failure> {
    let ask =
        |client: Client, endpoint: String, options| async move { client.status(&endpoint, options).await };
    let answers = ask_each(session, ask).await;
    if session.global.output == OutputForm::Json {
        print_json(session.out, &answers, StatusObject::new)?;
    } else {
        let table = if args.stages { stages_table(&answers) } else { status_table(&answers) };
        writeln!(session.out, "{table}")?;
        print_errors(session.out, &answers)?;
    }
    require_one(answers)
}

fn status_table(answers: &Answers<v1::StatusResponse>) -> String {
    let head = [
        "ENDPOINT", "ID", "ROLE", "TERM", "LEADER", "REVISION", "APPLIED", "COMMIT", "LAG", "LOG", "STATE",
        "FREE", "UP", "READY", "VERSION",
    ];
    let lag = lag_by_member(answers);
    let row = |(endpoint, answer): &(String, Result<v1::StatusResponse, Error>)| match answer {
        Ok(status) => status_row(endpoint, status, lag.get(&status.id)),
        Err(error) => vec![endpoint.clone(), "-".into(), error.reason().into()],
    };
    output::table(&head, answers.iter().map(row))
}

/// Where each member's time went.
fn stages_table(answers: &Answers<v1::StatusResponse>) -> String {
    let head = ["ENDPOINT", "ID", "STAGE", "COUNT", "MEAN", "P50", "P99", "MAX"];
    let rows = answers.iter().filter_map(|(endpoint, answer)| Some((endpoint, answer.as_ref().ok()?)));
    let rows = rows
        .flat_map(|(endpoint, status)| status.stages.iter().map(move |stage| (endpoint, status.id, stage)));
    let row = |(endpoint, id, stage): (&String, u64, &v1::status_response::Stage)| {
        let times = [stage.mean_us, stage.p50_us, stage.p99_us, stage.max_us].map(milliseconds);
        let named = [endpoint.clone(), id.to_string(), stage.name.clone(), stage.count.to_string()];
        named.into_iter().chain(times).collect()
    };
    output::table(&head, rows.map(row))
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}

/// How many entries each member lacks, as the leader of the newest term counts them; itself: 0.
fn lag_by_member(answers: &Answers<v1::StatusResponse>) -> BTreeMap<u64, u64> {
    let term = |status: &&v1::StatusResponse| status.header.as_ref().map_or(0, |header| header.term);
    let leaders = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let leader = leaders.filter(|status| status.role() == v1::MemberRole::RoleLeader).max_by_key(term);
    let Some(leader) = leader else { return BTreeMap::new() };
    let peers = leader.lag.iter().map(|lag| (lag.id, lag.entries));
    peers.chain([(leader.id, 0)]).collect()
}

fn status_row(endpoint: &str, status: &v1::StatusResponse, lag: Option<&u64>) -> Vec<String> {
    let header = status.header.clone().unwrap_or_default();
    let known = |id: u64| if id == 0 { "-".to_owned() } else { id.to_string() };
    vec![
        endpoint.to_owned(),
        status.id.to_string(),
        output::role(status.role()).to_owned(),
        header.term.to_string(),
        known(status.leader_id),
        header.revision.to_string(),
        header.applied_index.to_string(),
        status.commit_index.to_string(),
        lag.map_or("-".to_owned(), u64::to_string),
        output::size(status.log_bytes),
        output::size(status.state_bytes),
        output::size(status.free_disk_bytes),
        humantime::format_duration(Duration::from_secs(status.uptime_ms / 1000)).to_string(),
        if status.ready { "yes" } else { "no" }.to_owned(),
        status.version.clone(),
    ]
}

/// `members`
pub(super) async fn members(session: &mut Session<'_>) -> Result<Outcome, Failure> {
    let answer = session.client.members(session.options()).await?;
    require_one_cluster(session).await?;
    if session.global.output == OutputForm::Json {
        output::json(session.out, &MembersObject::from(answer))?;
        return Ok(Outcome::Done);
    }
    let row = |member: &v1::Member| {
        let v1::Member { id, peer_addr, client_addr, voter, is_leader } = member;
        let kind = if *voter { "voter" } else { "learner" };
        let leads = if *is_leader { "leader" } else { "-" };
        vec![id.to_string(), kind.to_owned(), leads.to_owned(), peer_addr.clone(), client_addr.clone()]
    };
    let table = output::table(&["ID", "KIND", "LEADS", "PEERS", "CLIENTS"], answer.members.iter().map(row));
    writeln!(session.out, "{table}")?;
    Ok(Outcome::Done)
}

/// `hash`
pub(super) async fn hash(session: &mut Session<'_>, args: HashArgs) -> Result<Outcome, Failure> {
    let revision = args.revision;
    let ask = |client: Client, endpoint: String, options| async move {
        client.state_hash(&endpoint, revision, options).await
    };
    let answers = ask_each(session, ask).await;
    if session.global.output == OutputForm::Json {
        print_json(session.out, &answers, HashObject::new)?;
    } else {
        writeln!(session.out, "{}", hash_table(&answers))?;
        print_errors(session.out, &answers)?;
    }
    let agree = agree(&answers);
    require_one(answers)?;
    Ok(Outcome::done_if(agree))
}

fn hash_table(answers: &Answers<v1::StateHashResponse>) -> String {
    let row = |(endpoint, answer): &(String, Result<v1::StateHashResponse, Error>)| match answer {
        Ok(answer) => {
            let id = answer.header.as_ref().map_or(0, |header| header.member_id);
            let (revision, keys) = (answer.revision.to_string(), answer.keys.to_string());
            vec![endpoint.clone(), id.to_string(), revision, keys, answer.hash.clone()]
        }
        Err(error) => {
            vec![endpoint.clone(), "-".into(), "-".into(), "-".into(), error.reason().into()]
        }
    };
    output::table(&["ENDPOINT", "ID", "REVISION", "KEYS", "HASH"], answers.iter().map(row))
}

/// Whether no two members have different hashes at the same revision.
fn agree(answers: &Answers<v1::StateHashResponse>) -> bool {
    let mut hashes = BTreeMap::new();
    let mut answered = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    answered.all(|answer| *hashes.entry(answer.revision).or_insert(&answer.hash) == &answer.hash)
}

/// Only one endpoint is asked for the members. The others must at least not belong to another cluster; one
/// that does not answer soon is given the benefit of the doubt.
async fn require_one_cluster(session: &Session<'_>) -> Result<(), Failure> {
    let ask = |client: Client, endpoint: String, options: CallOptions| async move {
        let timeout = options.timeout.map_or(CLUSTER_TIMEOUT, |timeout| timeout.min(CLUSTER_TIMEOUT));
        client.status(&endpoint, CallOptions { timeout: Some(timeout), ..options }).await
    };
    match foreign_cluster(&ask_each(session, ask).await) {
        Some(error) => Err(Failure::Call(error)),
        None => Ok(()),
    }
}

/// The first answer that came from another cluster than the rest.
fn foreign_cluster<T>(answers: &Answers<T>) -> Option<Error> {
    let mut errors = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
    errors.find(|error| matches!(error, Error::WrongCluster(_))).cloned()
}

/// Below a table, which has room for the reason only: what the endpoints without an answer said.
fn print_errors<T>(out: &mut dyn Write, answers: &Answers<T>) -> io::Result<()> {
    for (endpoint, answer) in answers {
        if let Err(error) = answer {
            let text = error.to_string().replace('\n', " ");
            let named = text.contains(endpoint.as_str());
            let name = if named { String::new() } else { format!("{endpoint}: ") };
            writeln!(out, "{name}{text}")?;
        }
    }
    Ok(())
}

/// Done if at least one endpoint answered, and all that did are of one cluster. Else the error: of
/// endpoints that cannot be reached, all are named.
fn require_one<T>(answers: Answers<T>) -> Result<Outcome, Failure> {
    if let Some(error) = foreign_cluster(&answers) {
        return Err(Failure::Printed(error));
    }
    if answers.iter().any(|(_, answer)| answer.is_ok()) {
        return Ok(Outcome::Done);
    }
    let mut unreached = BTreeMap::new();
    for error in answers.into_iter().filter_map(|(_, answer)| answer.err()) {
        match error {
            Error::Connection { endpoint, why, .. } => unreached.insert(endpoint, why),
            error => return Err(Failure::Printed(error)),
        };
    }
    client::unreachable(&unreached).map_or(Ok(Outcome::Done), |error| Err(Failure::Printed(error)))
}

#[cfg(test)]
mod tests;
