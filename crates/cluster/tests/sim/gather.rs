//! What a host's threads give a machine together: a read of a socket may bring many messages or operations.

use cluster::{Event, Message};

use crate::queue::{Nanos, What};
use crate::world::World;

/// Nanoseconds that a thread of a host gathers events for at most.
const GATHERING_MAX: Nanos = 300_000;

impl World {
    /// Gives a server's machine an event: messages of peers and operations of clients now and then some together, as the
    /// threads of a host do that read several at once.
    pub fn step(&mut self, node: usize, event: Event) {
        let (now, host) = (self.now, &mut self.servers[node]);
        if !can_be_gathered(&event) {
            let boot = host.boot;
            self.give_gathered(node, boot);
            if self.is_alive(node, boot) {
                self.give(node, [event]);
                self.check_permits(node);
            }
            return;
        }
        host.gathered.push(event);
        let boot = host.boot;
        if host.rng.u8(0..4) == 0 {
            let at = now + host.rng.u64(0..=GATHERING_MAX);
            self.queue.push(at, What::Gathered { node, boot });
        } else {
            self.give_gathered(node, boot);
        }
    }

    /// Gives a server's machine what was gathered for it.
    pub fn give_gathered(&mut self, node: usize, boot: u32) {
        if self.is_alive(node, boot) && !self.servers[node].gathered.is_empty() {
            let events = std::mem::take(&mut self.servers[node].gathered);
            self.give(node, events);
            self.check_permits(node);
        }
    }
}

/// Returns whether a host gives it to the machine together with others.
fn can_be_gathered(event: &Event) -> bool {
    let of_slots =
        |message: &Message| matches!(message, Message::Slot { .. } | Message::Ack { .. });
    match event {
        Event::Received(_, message) => of_slots(message),
        Event::Client { .. } => true,
        _ => false,
    }
}
