//! The operators: they start again what said that it cannot go on, change the ring, and take off it who never comes back.
//!
//! The last is the one thing that a cluster waits for: while fewer than half of the servers are seen, the coordinator changes
//! nothing by itself (DESIGN, section 6), since then it is more likely the coordinator that is cut off. Whoever knows that
//! they are gone for good says so with the ordinary `leave`. That loses nothing: a slot keeps the members it has, and makes its
//! lost copies again elsewhere. Nobody here ever forces a slot open whose last complete copy is gone.

use cluster::ServerId;
use cluster::coordinator::Command;

use crate::disk::Crash;
use crate::node::State;
use crate::queue::{MS, Nanos, SECOND, What};
use crate::world::World;

/// How long after the faults the operator looks at the cluster.
pub const OPERATOR_AFTER: Nanos = 15 * SECOND;

impl World {
    /// Takes servers that never come back off the ring, where the cluster has not done so by itself.
    pub fn operate(&mut self) {
        let is_gone = |id: &ServerId| {
            let is_lost = |host: &&crate::node::Host| host.id == *id && host.state == State::Lost;
            self.servers.iter().find(is_lost).is_some()
        };
        let gone: Vec<ServerId> =
            self.ecs.map.ring().servers().into_iter().filter(is_gone).collect();
        for id in gone {
            self.note(format!(
                "{} never comes back: the operator takes it off the ring",
                crate::words::name(id)
            ));
            self.command(Command::Leave(id));
        }
    }

    /// A server said that it can go on no more: an operator will see to it.
    pub fn call_operator(&mut self, node: usize) {
        let boot = self.servers[node].boot;
        let after = self.faults.span(SECOND, 5 * SECOND);
        self.queue.push(self.now + after, What::Dies { node, boot });
    }

    /// A process that cannot go on is ended by its operator, and started again.
    pub fn dies(&mut self, node: usize, boot: u32) {
        if self.is_alive(node, boot) {
            self.crash(node, Crash::Kill, Some(100 * MS));
        }
    }

    /// A server leaves, by command or by signal, or comes back onto the ring.
    pub fn change_ring(&mut self, node: usize) {
        let id: ServerId = self.servers[node].id;
        let map = &self.ecs.map;
        if !map.ring().contains(id) {
            self.faults.leaving.remove(&node);
            self.note(format!("s{} is asked onto the ring", node + 1));
            return self.command(Command::Join(id));
        }
        if self.staying(id) == 0 {
            return;
        }
        self.faults.leaving.insert(node);
        if self.faults.rng.bool() {
            self.note(format!("s{} is asked to leave", node + 1));
            self.command(Command::Leave(id));
        } else {
            self.note(format!("s{} is told to leave", node + 1));
            self.step(node, cluster::Event::Leave);
        }
    }

    /// A server has left and its process has ended: it may come back in standby.
    pub fn has_left(&mut self, node: usize) {
        if self.faults.is_over || self.faults.rng.u8(0..10) < 3 {
            return;
        }
        let host = &mut self.servers[node];
        host.state = State::Down;
        host.is_standby = true;
        let boot = host.boot;
        let after = self.faults.span(300 * MS, 5 * SECOND);
        self.queue.push(self.now + after, What::Start { node, boot });
        self.queue.push(self.now + 2 * after + SECOND, What::Join { node });
    }

    /// An operator puts a server that waits onto the ring.
    pub fn join(&mut self, node: usize) {
        let id = self.servers[node].id;
        self.faults.leaving.remove(&node);
        self.note(format!("s{} is asked onto the ring", node + 1));
        self.command(Command::Join(id));
    }
}
