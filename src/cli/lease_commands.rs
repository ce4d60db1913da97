//! `lease grant|revoke|keep-alive|ttl|list`.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    Failure, Outcome, Session,
    args::{KeepAliveArgs, LeaseCommand, LeaseGrantArgs, LeaseTtlArgs, OutputForm},
    output::{self, KeptAliveObject, LeaseGrantObject, LeaseObject, LeaseRevokeObject, LeasesObject},
    serve::Signals,
};
use crate::{
    error::Error,
    recipes::LeaseApi,
    types::{CallOptions, Grant, KeptAlive, LeaseId, LeaseInfo, LeaseList, LeaseSummary},
};

/// Of a lease's time to live, the part after which it is renewed.
const RENEW_SHARE: u32 = 3;

/// Between the beginnings of two attempts when the cluster does not answer, at least; less for a short lease.
const AGAIN: Duration = Duration::from_millis(500);

/// Carries a lease command out.
pub(super) async fn run(session: &mut Session<'_>, command: LeaseCommand) -> Result<Outcome, Failure> {
    match command {
        LeaseCommand::Grant(args) => grant(session, args).await,
        LeaseCommand::Revoke { id } => revoke(session, id).await,
        LeaseCommand::KeepAlive(args) => keep_alive(session, args).await,
        LeaseCommand::Ttl(args) => ttl(session, args).await,
        LeaseCommand::List => list(session).await,
    }
}

async fn grant(session: &mut Session<'_>, args: LeaseGrantArgs) -> Result<Outcome, Failure> {
    let grant = Grant { id: args.id, ttl: args.ttl, session: false };
    let answer = session.client.grant(grant, session.options()).await?;
    // The id alone, so that a script can take it: `lease=$(quorate lease grant --ttl 30s)`.
    let id = answer.result.id.to_string();
    session.print_write::<_, LeaseGrantObject>(answer, &id, Vec::new())?;
    Ok(Outcome::Done)
}

async fn revoke(session: &mut Session<'_>, id: LeaseId) -> Result<Outcome, Failure> {
    let answer = session.client.revoke(id, session.options()).await?;
    let (deleted, revision) = (answer.result.deleted, answer.header.revision);
    let summary = format!("revoked, {deleted} keys deleted, revision {revision}");
    session.print_write::<_, LeaseRevokeObject>(answer, &summary, Vec::new())?;
    Ok(Outcome::Done)
}

/// Until it is interrupted, or the lease has ended: then exit code 1. Once it has renewed the lease, it waits
/// for a cluster that does not answer: nobody ends a lease without a leader, and the next leader gives it its
/// full time again.
async fn keep_alive(session: &mut Session<'_>, args: KeepAliveArgs) -> Result<Outcome, Failure> {
    let mut signals = Signals::new()?;
    let (mut options, mut renewed, mut failing) = (session.options(), false, None);
    loop {
        let sent = Instant::now();
        let answer = tokio::select! {
            answer = session.client.keep_alive(args.id, options.clone()) => answer,
            _ = signals.next() => return Ok(Outcome::Done),
        };
        let pause = match answer {
            Ok(kept) => {
                let period = kept.ttl / RENEW_SHARE;
                options.timeout = Some(session.global.timeout.min(period));
                (renewed, failing) = (true, None);
                print_kept(session, kept)?;
                session.out.flush()?;
                period
            }
            Err(error) if renewed && !matches!(error, Error::LeaseNotFound(_) | Error::Invalid(_)) => {
                // Once for each kind: an outage may be long.
                if failing.replace(error.reason()) != Some(error.reason()) {
                    writeln!(io::stderr(), "quorate: {error}")?;
                }
                AGAIN.min(options.timeout.unwrap_or(AGAIN) / 2)
            }
            Err(error) => return Err(error.into()),
        };
        if args.once {
            return Ok(Outcome::Done);
        }
        tokio::select! {
            () = sleep_until(sent + pause) => {}
            _ = signals.next() => return Ok(Outcome::Done),
        }
    }
}

fn print_kept(session: &mut Session<'_>, kept: KeptAlive) -> io::Result<()> {
    match session.global.output {
        OutputForm::Json => output::json(session.out, &KeptAliveObject::from(kept)),
        _ => writeln!(session.out, "lease {} lives {:?} from now on", kept.id, kept.ttl),
    }
}

async fn ttl(session: &mut Session<'_>, args: LeaseTtlArgs) -> Result<Outcome, Failure> {
    let info = session.client.time_to_live(args.id, args.keys, session.options()).await?;
    match session.global.output {
        OutputForm::Json => output::json(session.out, &LeaseObject::from(info))?,
        _ => print_info(session.out, &info)?,
    }
    Ok(Outcome::Done)
}

fn print_info(out: &mut dyn Write, info: &LeaseInfo) -> io::Result<()> {
    let kind = if info.session { "session" } else { "lease" };
    let LeaseInfo { id, ttl, remaining, key_count, .. } = info;
    writeln!(out, "{kind} {id}: {remaining:.1?} left of {ttl:?}, {key_count} keys")?;
    info.keys.iter().try_for_each(|key| writeln!(out, "{}", output::bytes(key)))
}

async fn list(session: &mut Session<'_>) -> Result<Outcome, Failure> {
    let (header, leases) = all(session).await?;
    match session.global.output {
        OutputForm::Json => output::json(session.out, &LeasesObject::new(header, leases))?,
        OutputForm::Table => {
            let rows = leases.iter().map(row);
            writeln!(session.out, "{}", output::table(&["LEASE", "TTL", "KIND", "KEYS"], rows))?;
        }
        OutputForm::Simple => {
            for lease in &leases {
                writeln!(session.out, "{}", row(lease).join("\t"))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// Page by page: each is linearizable, the whole is not of one instant.
async fn all(session: &Session<'_>) -> Result<(crate::types::Header, Vec<LeaseSummary>), Error> {
    let mut leases = Vec::new();
    loop {
        let after = leases.last().map_or(0, |lease: &LeaseSummary| lease.id);
        let options: CallOptions = session.options();
        let LeaseList { header, leases: mut page, more } = session.client.leases(after, 0, options).await?;
        leases.append(&mut page);
        if !more {
            return Ok((header, leases));
        }
    }
}

fn row(lease: &LeaseSummary) -> Vec<String> {
    let kind = if lease.session { "session" } else { "lease" };
    vec![lease.id.to_string(), format!("{:?}", lease.ttl), kind.to_owned(), lease.key_count.to_string()]
}
