//! `watch`: prints what happens to keys, or runs a command for each event.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    process::{Command, ExitStatus, Stdio},
};

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Failure, Outcome, Session,
    args::{OutputForm, WatchArgs},
    held_command::GRACE,
    output::{self, EventObject, ProgressObject},
    serve::Signals,
};
use crate::{
    recipes::WatchApi,
    types::{Revision, Watch, WatchEvent, WatchUpdate},
};

/// Bytes of a value that a command finds in its environment too; systems bound what fits there. Standard
/// input has all of it.
const VALUE_IN_ENVIRONMENT_MAX: usize = 64 << 10;

/// `watch`, until a signal or the end of the reader of its output.
pub(super) async fn watch(session: &mut Session<'_>, args: WatchArgs) -> Result<Outcome, Failure> {
    let mut signals = Signals::new()?;
    let watch = Watch {
        start_revision: args.from_revision,
        no_put: args.no_put,
        no_delete: args.no_delete,
        prev_kv: args.prev_kv,
        progress_interval: args.progress,
        ..Watch::new(args.keys.range())
    };
    let mut updates = session.client.watch(watch).await?;
    if session.global.output == OutputForm::Table && args.command.is_empty() {
        writeln!(session.out, "{}", row("REVISION", "TYPE", "KEY", "VALUE"))?;
        session.out.flush()?;
    }
    loop {
        let update = tokio::select! {
            update = updates.next() => update,
            _ = signals.next() => return Ok(Outcome::Done),
        };
        match update {
            Some(Ok(WatchUpdate::Events { events, .. })) if !args.command.is_empty() => {
                for event in events {
                    if !run(&args.command, event, &mut signals).await? {
                        return Ok(Outcome::Done);
                    }
                }
            }
            Some(Ok(update)) => print(session, update)?,
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(Outcome::Done),
        }
    }
}

fn print(session: &mut Session<'_>, update: WatchUpdate) -> io::Result<()> {
    match update {
        WatchUpdate::Created(_) => {}
        WatchUpdate::Progress(header) => print_progress(session, header.revision)?,
        WatchUpdate::Events { events, .. } => {
            events.into_iter().try_for_each(|event| print_event(session, event))?;
        }
    }
    session.out.flush()
}

fn print_event(session: &mut Session<'_>, event: WatchEvent) -> io::Result<()> {
    let out = &mut *session.out;
    match session.global.output {
        OutputForm::Json => output::json(out, &EventObject::from(event)),
        OutputForm::Table => {
            let revision = event.kv.mod_revision.to_string();
            let (key, value) = (output::bytes(&event.kv.key), output::bytes(&event.kv.value));
            writeln!(out, "{}", row(&revision, kind(&event), &key, &value))
        }
        OutputForm::Simple => {
            let mut fields = vec![kind(&event).as_bytes(), &event.kv.key];
            fields.extend((!event.deleted).then_some(&*event.kv.value));
            fields.extend(event.prev_kv.as_ref().map(|kv| &*kv.value));
            out.write_all(&fields.join(&b'\t'))?;
            out.write_all(b"\n")
        }
    }
}

fn print_progress(session: &mut Session<'_>, revision: Revision) -> io::Result<()> {
    match session.global.output {
        OutputForm::Json => output::json(session.out, &ProgressObject::new(revision)),
        OutputForm::Table => writeln!(session.out, "{}", row(&revision.to_string(), "progress", "", "")),
        OutputForm::Simple => writeln!(session.out, "progress\t{revision}"),
    }
}

/// A line of a table whose other lines are not known yet.
fn row(revision: &str, kind: &str, key: &str, value: &str) -> String {
    format!("{revision:<10}  {kind:<8}  {key:<24}  {value}").trim_end().to_owned()
}

/// As it is typed, and as scripts see it.
pub(super) fn kind(event: &WatchEvent) -> &'static str {
    if event.deleted { "delete" } else { "put" }
}

/// Runs the command for one event, to its end. False: a signal came, and was passed on; a command that goes
/// on all the same is killed after a while, or at the next signal.
async fn run(command: &[OsString], event: WatchEvent, signals: &mut Signals) -> Result<bool, Failure> {
    let [program, arguments @ ..] = command else { return Ok(true) };
    let mut prepared = Command::new(program);
    prepared.args(arguments).stdin(Stdio::piped());
    for (name, value) in environment(&event) {
        prepared.env(name, value);
    }
    let failed = |why: io::Error| Failure::Usage(format!("cannot run {}: {why}", program.display()));
    let mut child = prepared.spawn().map_err(failed)?;
    let pid = Pid::from_child(&child);
    let value = event.kv.value;
    let mut ending = spawn_blocking(move || -> io::Result<ExitStatus> {
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read its input is not wrong.
            let _ = input.write_all(&value);
        }
        child.wait()
    });
    let (ended, goes_on) = tokio::select! {
        ended = &mut ending => (ended, true),
        _ = signals.next() => {
            let _ = kill_process(pid, Signal::TERM);
            let ended = tokio::select! {
                ended = &mut ending => ended,
                () = async { tokio::select! {
                    () = sleep(GRACE) => {}
                    _ = signals.next() => {}
                } } => {
                    let _ = kill_process(pid, Signal::KILL);
                    ending.await
                }
            };
            (ended, false)
        }
    };
    let status = ended.map_err(io::Error::other).flatten().map_err(failed)?;
    if !status.success() && goes_on {
        writeln!(io::stderr(), "quorate: {} ended with {status}", program.display())?;
    }
    Ok(goes_on)
}

/// What a command finds in its environment. What does not fit there is left out.
fn environment(event: &WatchEvent) -> Vec<(&'static str, OsString)> {
    let bytes = |bytes: &[u8]| {
        let fits = bytes.len() <= VALUE_IN_ENVIRONMENT_MAX && !bytes.contains(&0);
        fits.then(|| OsStr::from_bytes(bytes).to_owned())
    };
    let all = [
        ("QUORATE_WATCH_EVENT_TYPE", Some(kind(event).into())),
        ("QUORATE_WATCH_KEY", bytes(&event.kv.key)),
        ("QUORATE_WATCH_VALUE", bytes(&event.kv.value)),
        ("QUORATE_WATCH_REVISION", Some(event.kv.mod_revision.to_string().into())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KeyValue;

    #[test]
    fn the_environment_has_what_fits_there() {
        let kv = |key: &'static [u8], value: Vec<u8>| KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: 2,
            mod_revision: 7,
            version: 1,
            lease: 0,
        };
        let names = |kv| -> Vec<_> {
            let event = WatchEvent { deleted: false, kv, prev_kv: None };
            environment(&event).into_iter().map(|(name, value)| (name, value.into_string())).collect()
        };
        assert_eq!(
            names(kv(b"k", b"v".to_vec())),
            [
                ("QUORATE_WATCH_EVENT_TYPE", Ok("put".to_owned())),
                ("QUORATE_WATCH_KEY", Ok("k".to_owned())),
                ("QUORATE_WATCH_VALUE", Ok("v".to_owned())),
                ("QUORATE_WATCH_REVISION", Ok("7".to_owned())),
            ]
        );
        let left: Vec<_> = names(kv(b"\0", vec![b'v'; 65 << 10])).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["QUORATE_WATCH_EVENT_TYPE", "QUORATE_WATCH_REVISION"]);
    }

    #[test]
    fn a_row_is_one_line_and_ends_with_its_text() {
        assert_eq!(row("7", "put", "k", "v"), format!("7           put       k{}  v", " ".repeat(23)));
        assert_eq!(row("7", "delete", "k", ""), "7           delete    k");
    }
}
