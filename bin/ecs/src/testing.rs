//! What the tests of this crate share: a cluster's first decisions.

use cluster::coordinator::{Action, ConnectionId, Coordinator, Entry, Event, Settings};
use cluster::{ServerId, Time, ToEcs, Version};

/// Settings of a small cluster.
pub(crate) fn small() -> Settings {
    Settings { slot_count: 4, replica_count: 2, ..Settings::default() }
}

/// Returns what a server says when it registers.
pub(crate) fn register(name: u128, life: u64) -> ToEcs {
    ToEcs::Register {
        server: ServerId(name),
        address: format!("127.0.0.1:{}", 7000 + name),
        life,
        is_complete: true,
        is_standby: false,
        version: Version(0),
    }
}

/// Returns a coordinator at which so many servers have registered, and what it decided.
pub(crate) fn decided(server_count: u64) -> (Coordinator, Vec<Entry>) {
    let (mut machine, mut entries) = (Coordinator::new(small()), Vec::new());
    for number in 1..=server_count {
        let mut actions = Vec::new();
        let connection = ConnectionId(number);
        machine.step(Time(number), Event::Connected(connection), &mut actions);
        let message = register(u128::from(number), number);
        machine.step(Time(number), Event::Received(connection, message), &mut actions);
        entries.extend(actions.into_iter().filter_map(|action| match action {
            Action::Log(entry) => Some(entry),
            _ => None,
        }));
    }
    (machine, entries)
}
