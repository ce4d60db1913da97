//! What must hold of a whole simulation, checked at its end against a replica that has applied what was
//! committed. (What must hold at every commit and every election is in `world::ledger`, and what of one
//! member, in `world::member`.)

mod exactly_once;
mod fencing;
mod leases;
mod reads;
mod replay;
mod watches;

use crate::workload::Clients;

/// Checks everything; violations go to the trace.
pub fn check(clients: &Clients) {
    let replayed = match replay::replay(&clients.world.ledger.entries()) {
        Ok(replayed) => replayed,
        Err(why) => {
            return clients.world.trace.violation(format!("the committed log cannot be replayed: {why}"));
        }
    };
    let history = clients.history();
    let violations = [
        exactly_once::check(&history, &replayed),
        reads::check(&history, &replayed),
        fencing::check(&history, &replayed),
        leases::check(&history, &replayed),
        watches::check(&history, &replayed),
    ];
    for violation in violations.into_iter().flatten() {
        clients.world.trace.violation(violation);
    }
}
