//! `lock`, `elect` and `observe`: hold a lock while a command runs, look into its queue, follow a leader.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::ffi::OsStringExt,
    time::Duration,
};

use futures::StreamExt;

use super::{
    Failure, Outcome, Session,
    args::{ElectArgs, HoldArgs, LockArgs, LockCommand, ObserveArgs, OutputForm},
    held_command::{Ended, Running},
    output::{self, HeldObject, LeaderObject, LockObject},
    serve::Signals,
};
use crate::{
    client::Client,
    error::Error,
    recipes::{LockGuard, LockOptions, Recipes, election, lock},
    types::{ElectionLeader, Guard, LockMode, LockPlace, LockProgress},
};

/// `lock`
pub(super) async fn lock(session: &mut Session<'_>, args: LockArgs) -> Result<Outcome, Failure> {
    if let Some(LockCommand::Inspect { name }) = args.command {
        return inspect(session, name).await;
    }
    let mode = match (args.shared, args.permits) {
        (true, _) => LockMode::Shared,
        (false, Some(permits)) => LockMode::Permits(permits),
        (false, None) => LockMode::Exclusive,
    };
    // clap demands a name unless there is a subcommand.
    let options = options(args.name.unwrap_or_default(), mode, args.value.unwrap_or_default(), &args.hold);
    hold(session, options, args.hold).await
}

/// `elect`
pub(super) async fn elect(session: &mut Session<'_>, args: ElectArgs) -> Result<Outcome, Failure> {
    let options = options(args.name, LockMode::Exclusive, args.value, &args.hold);
    hold(session, options, args.hold).await
}

fn options(name: OsString, mode: LockMode, value: OsString, hold: &HoldArgs) -> LockOptions {
    let (name, value) = (name.into_vec().into(), value.into_vec().into());
    LockOptions { name, mode, ttl: hold.ttl, wait: hold.wait, value }
}

/// Takes the lock, and holds it until the command has ended; without a command, until a signal.
async fn hold(session: &mut Session<'_>, options: LockOptions, args: HoldArgs) -> Result<Outcome, Failure> {
    let mut signals = Signals::new()?;
    let outcome = match take(&session.client, options, &mut signals).await {
        Ok(guard) => held(session, guard, &args.command, &mut signals).await,
        Err(Error::Deadline { waiting_for, .. }) if waiting_for == lock::THE_LOCK => {
            writeln!(io::stderr(), "quorate: the lock was not free in time")?;
            Ok(Outcome::Negative)
        }
        Err(error) => Err(error.into()),
    };
    // What is left of it ends by itself.
    if let Err(error) = session.client.close_session().await {
        tracing::debug!(%error, "the session is left to itself");
    }
    outcome
}

/// Waits for the lock until a signal.
async fn take(
    client: &Client,
    options: LockOptions,
    signals: &mut Signals,
) -> Result<LockGuard<Client>, Error> {
    if options.wait == Some(Duration::ZERO) {
        let late = Error::Deadline { waiting_for: lock::THE_LOCK.into(), maybe_committed: false };
        return client.try_lock(options).await?.ok_or(late);
    }
    let stop = async {
        signals.next().await;
    };
    client.lock_until(options, stop, tell).await
}

fn tell(progress: &LockProgress) {
    if let LockProgress::Queued { position, .. } = progress {
        // Whoever does not read it does not miss it.
        let _ = writeln!(io::stderr(), "quorate: waiting, {position} before");
    }
}

/// Whatever becomes of the command, the lock is given back.
async fn held(
    session: &mut Session<'_>,
    guard: LockGuard<Client>,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<Outcome, Failure> {
    let ended = match command {
        [] => show(session, &guard, signals).await,
        command => run(command, &guard, signals).await,
    };
    let Guard { owner_key, fencing_token: token } = guard.guard();
    let released = guard.release().await;
    match (ended?, released) {
        // Lost behind the command's back: what it did last may not have been alone.
        (_, Err(lost @ Error::LockLost { .. })) => Err(Failure::LockLost(lost)),
        (Ended::Lost, _) => Err(Failure::LockLost(Error::LockLost { owner_key, token, current_token: 0 })),
        (Ended::Code(code), Ok(())) => Ok(Outcome::Code(code)),
        (Ended::Code(code), Err(error)) => {
            writeln!(io::stderr(), "quorate: the lock is left to the end of its lease: {error}")?;
            Ok(Outcome::Code(code))
        }
    }
}

async fn run(
    command: &[OsString],
    guard: &LockGuard<Client>,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    Running::start(command, guard)?.until_its_end(guard, signals).await
}

async fn show(
    session: &mut Session<'_>,
    guard: &LockGuard<Client>,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    print_held(session, guard)?;
    let lost = guard.lost();
    Ok(tokio::select! {
        () = lost.cancelled() => Ended::Lost,
        _ = signals.next() => Ended::Code(0),
    })
}

fn print_held(session: &mut Session<'_>, guard: &LockGuard<Client>) -> io::Result<()> {
    if session.global.output == OutputForm::Json {
        output::json(session.out, &HeldObject::new(guard.held().clone(), guard.lease()))?;
    } else {
        writeln!(session.out, "{}\t{}", output::bytes(guard.owner_key()), guard.token())?;
    }
    session.out.flush()
}

/// `lock inspect`
async fn inspect(session: &mut Session<'_>, name: OsString) -> Result<Outcome, Failure> {
    let name = name.into_vec().into();
    let state = lock::inspect(&session.client, &name, session.options()).await?;
    let outcome = Outcome::done_if(!state.places.is_empty());
    match session.global.output {
        OutputForm::Json => output::json(session.out, &LockObject::from(state))?,
        OutputForm::Table => {
            let head = ["STATE", "TOKEN", "MODE", "LEASE", "VALUE", "KEY"];
            writeln!(session.out, "{}", output::table(&head, state.places.iter().map(row)))?;
        }
        OutputForm::Simple => {
            for place in &state.places {
                writeln!(session.out, "{}", row(place).join("\t"))?;
            }
        }
    }
    Ok(outcome)
}

fn row(place: &LockPlace) -> Vec<String> {
    vec![
        if place.holds { "holds" } else { "waits" }.to_owned(),
        place.kv.create_revision.to_string(),
        place.mode.to_string(),
        place.kv.lease.to_string(),
        output::bytes(&place.kv.value),
        output::bytes(&place.kv.key),
    ]
}

/// `observe`, until a signal.
pub(super) async fn observe(session: &mut Session<'_>, args: ObserveArgs) -> Result<Outcome, Failure> {
    let mut signals = Signals::new()?;
    let name = args.name.into_vec().into();
    let options = session.options();
    let mut leaders = election::observe(&session.client, &name, args.after, options).await?;
    loop {
        let leader = tokio::select! {
            leader = leaders.next() => leader,
            _ = signals.next() => return Ok(Outcome::Done),
        };
        match leader {
            Some(leader) => print_leader(session, leader?)?,
            None => return Ok(Outcome::Done),
        }
    }
}

fn print_leader(session: &mut Session<'_>, leader: ElectionLeader) -> io::Result<()> {
    if session.global.output == OutputForm::Json {
        output::json(session.out, &LeaderObject::from(leader))?;
    } else {
        let revision = leader.header.revision;
        let (token, value) = leader.leader.map_or(("-".to_owned(), String::new()), |kv| {
            (kv.create_revision.to_string(), output::bytes(&kv.value))
        });
        writeln!(session.out, "{}", format!("{revision}\t{token}\t{value}").trim_end())?;
    }
    session.out.flush()
}
