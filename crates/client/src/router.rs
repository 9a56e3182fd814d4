//! Which server to ask next, when to ask for the map anew, and how long to leave a server alone: decisions without I/O.
//!
//! ```text
//!              ┌──────────── the map is doubted: learn it from any server ◀──────────────┐
//!              ▼                                                                         │
//!   next ──▶ a write: the primary ────────────────────▶ ask ──▶ met ─┬─ answered         │
//!            a read: the members in turn                             ├─ not responsible ─┤ (after every member was asked)
//!              ▲                                                     ├─ stopped, lost ───┘ (a read: after every member)
//!              └──────────────── pause ◀─────────────────────────────┴─ write lock
//! ```
//!
//! * **Who is not responsible** is followed by the other members: while data moves, slots change their primaries one by one, and
//!   the next primary is among them. Which one took a write of a slot is remembered until there is another map, which is asked
//!   for beside, at most every [`STALE_PAUSE`]: to wait for it at each such step would cost much, since it is long, and there
//!   are many clients. Where no member takes a write, the *newcomer* is asked before the map is: the server that came
//!   into the map last, or took a write of a slot that it is not listed for. It is the one that slots move to.
//! * **Learning** is limited: after one that brought something new [`LEARN_PAUSE_MIN`] pass before the next, and each that
//!   brings nothing new doubles that, up to [`LEARN_PAUSE_MAX`]; always [`LEARN_COST_FACTOR`] times as long as the answer took. Whoever doubted the same map waits for the same answer.
//! * **Whom to learn from**: first the server that just said it is not responsible, since it knows who is; then those of the map in
//!   turn, then every server ever known, the given ones among them. So no single server is needed, and no coordinator.
//! * **A server that was lost** twice, or cannot be reached, is left alone for [`SUSPECT_MIN`], twice as long each time it happens
//!   again, up to [`SUSPECT_MAX`]. Reads go elsewhere meanwhile; writes learn whether somebody took its place.
//! * **A map of one server** is that server's own, whatever address it thinks it has: it is asked where it was found.
//!
//! Time is given from outside. Pauses are drawn at random from their upper half, as those of `backoff` are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hashring::{SlotId, Token};
use protocol::Range;

use crate::backoff::Backoff;
use crate::map::Map;

/// The pause between two questions for the map when the first one brought something new.
pub(crate) const LEARN_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause between two questions for the map: a fraction of the second in which a crashed server's place is taken.
pub(crate) const LEARN_PAUSE_MAX: Duration = Duration::from_millis(160);

/// How many times as long as the map took to come, before it is asked for again: so that a long map on a busy server
/// is not most of what it does.
pub(crate) const LEARN_COST_FACTOR: u32 = 4;

/// The shortest time between two questions for a map that is only out of date: all goes on, with a detour. While data moves
/// the map changes many times a second, and no client needs each of its states.
pub(crate) const STALE_PAUSE: Duration = Duration::from_millis(500);

/// How long a server is left alone at first.
pub(crate) const SUSPECT_MIN: Duration = Duration::from_millis(20);

/// How long a server is left alone at most: trying one that is away costs a time-out.
pub(crate) const SUSPECT_MAX: Duration = Duration::from_secs(1);

/// Servers that are remembered before those that are in no map any more are forgotten.
pub(crate) const KNOWN_COUNT_MAX: usize = 1024;

/// What an operation needs of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The primary.
    Write,
    /// Any member.
    Read,
}

/// The way of one operation.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) token: Token,
    pub(crate) need: Need,
    /// Members that refused, since the map was last doubted.
    tried: Vec<usize>,
    /// The number of the map that proved of no use.
    doubted: Option<u64>,
    backoff: Backoff,
}

impl Route {
    pub(crate) fn new(token: Token, need: Need) -> Self {
        Self { token, need, tried: Vec::new(), doubted: None, backoff: Backoff::new() }
    }
}

/// What to do next for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this server.
    Ask(usize),
    /// Learn the map, then look again.
    Learn,
    /// Look again then.
    Wait(Instant),
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The server answers for another part of the ring.
    NotResponsible,
    /// The slot is being handed over.
    WriteLock,
    /// The server serves nothing, or not this slot for the moment.
    Stopped,
    /// No connection, or no answer.
    Lost,
}

/// A server.
#[derive(Debug)]
struct Known {
    address: String,
    /// Left alone until then.
    suspect_until: Option<Instant>,
    /// How often in a row it was lost.
    lost_count: u32,
}

/// Servers and the map.
#[derive(Debug)]
pub(crate) struct Router {
    servers: Vec<Known>,
    /// The first of `servers` were given, not learned.
    given_count: usize,
    spreads_reads: bool,
    map: Option<Map>,
    /// Who took a write of a slot that the map has as another's.
    moved: BTreeMap<SlotId, usize>,
    /// The server that slots move to, as far as can be guessed.
    newcomer: Option<usize>,
    /// Some member was not responsible for what the map says.
    is_stale: bool,
    learned_at: Option<Instant>,
    /// Counts maps that were learned, whether they brought something new or not.
    number: u64,
    next_learn_at: Option<Instant>,
    learn_pause: Duration,
    /// Who should know best.
    hint: Option<usize>,
    /// The server after the one that taught last.
    next_teacher: usize,
    /// Turns reads over the members.
    turn: usize,
}

impl Router {
    /// Returns a router that knows the addresses `servers` and no map.
    pub(crate) fn new(servers: Vec<String>, spreads_reads: bool) -> Self {
        let given_count = servers.len();
        let servers = servers.into_iter().map(Known::new).collect();
        Self {
            servers,
            given_count,
            spreads_reads,
            map: None,
            moved: BTreeMap::new(),
            newcomer: None,
            is_stale: false,
            learned_at: None,
            number: 0,
            next_learn_at: None,
            learn_pause: LEARN_PAUSE_MIN,
            hint: None,
            next_teacher: 0,
            turn: 0,
        }
    }

    /// Returns a server's address.
    pub(crate) fn address(&self, server: usize) -> &str {
        self.servers.get(server).map_or("no server", |known| known.address.as_str())
    }

    /// Returns how many servers are known; their numbers are below.
    pub(crate) fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// Returns the map, if one was learned.
    pub(crate) fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

    /// Forgets the servers that were learned, and the map, if they are too many; returns whether it did.
    pub(crate) fn forget_many(&mut self) -> bool {
        let is_many = self.servers.len() > KNOWN_COUNT_MAX.max(self.given_count);
        if is_many {
            self.servers.truncate(self.given_count);
            self.map = None;
            self.moved.clear();
            (self.newcomer, self.hint) = (None, None);
        }
        is_many
    }

    /// Returns what to do next for the operation of `route`.
    pub(crate) fn next(&mut self, route: &mut Route, now: Instant) -> Step {
        if self.map.is_none() || route.doubted == Some(self.number) {
            return self.learn_step(now);
        }
        let chosen = match route.need {
            Need::Write => self.choose_primary(route, now),
            Need::Read => self.choose(route, now),
        };
        match chosen {
            Some(server) => Step::Ask(server),
            None => {
                route.tried.clear();
                route.doubted = Some(self.number);
                self.learn_step(now)
            }
        }
    }

    /// Returns whether `server` is one that the operation may be asked of, as far as the map says.
    pub(crate) fn is_on_route(&self, route: &Route, server: usize) -> bool {
        let members = self.map.as_ref().map_or(&[][..], |map| map.members(route.token));
        match route.need {
            Need::Write => self.primary(route.token) == Some(server),
            Need::Read => members.contains(&server),
        }
    }

    /// Returns whether a read could be asked of another server than `server` now.
    pub(crate) fn has_other(&self, route: &Route, server: usize, now: Instant) -> bool {
        let members = self.map.as_ref().map_or(&[][..], |map| map.members(route.token));
        route.need == Need::Read
            && members.iter().any(|&other| other != server && !self.is_suspect(other, now))
    }

    /// Takes note that `server` carried an operation out.
    pub(crate) fn answered(&mut self, route: &Route, server: usize) {
        if route.need == Need::Write && self.primary(route.token) != Some(server) {
            self.moved.insert(route.token.slot(), server);
            let is_listed = |map: &Map| map.members(route.token).contains(&server);
            if !self.map.as_ref().is_some_and(is_listed) {
                self.newcomer = Some(server);
            }
        }
        self.is_well(server);
    }

    /// Takes note of an answer that was one.
    fn is_well(&mut self, server: usize) {
        if let Some(known) = self.servers.get_mut(server) {
            known.suspect_until = None;
            known.lost_count = 0;
        }
    }

    /// Takes note of what an attempt at `server` came to; returns when the operation may go on, if not at once.
    /// That a server was [`lost`](Self::lost) or [`unreachable`](Self::unreachable) is to be told once for all operations.
    pub(crate) fn met(
        &mut self,
        route: &mut Route,
        server: usize,
        met: Met,
        now: Instant,
    ) -> Option<Instant> {
        let is_primary = self.primary(route.token) == Some(server);
        let is_backup_read = route.need == Need::Read && !is_primary;
        route.tried.push(server);
        match met {
            Met::NotResponsible => {
                self.is_stale = true;
                self.hint = Some(server);
                None
            }
            Met::Lost => {
                if route.need == Need::Write {
                    self.doubt(route);
                }
                None
            }
            Met::Stopped if is_backup_read => None,
            Met::Stopped => {
                if route.need == Need::Write {
                    self.doubt(route);
                }
                Some(now + route.backoff.next_pause())
            }
            Met::WriteLock => {
                route.tried.clear();
                Some(now + route.backoff.next_pause())
            }
        }
    }

    /// Takes note that the connection to a server ended, or that it was silent: it is left alone if that happens again
    /// before it answers, since a server may close a connection and take the next.
    pub(crate) fn lost(&mut self, server: usize, now: Instant) {
        match self.servers.get_mut(server) {
            Some(known) if known.lost_count == 0 => known.lost_count = 1,
            _ => self.unreachable(server, Duration::ZERO, now),
        }
    }

    /// Leaves a server alone for a while, at least as long as it `cost` to find out that it is of no use.
    pub(crate) fn unreachable(&mut self, server: usize, cost: Duration, now: Instant) {
        if let Some(known) = self.servers.get_mut(server) {
            let pause = SUSPECT_MIN.saturating_mul(1 << known.lost_count.saturating_sub(1).min(16));
            let pause = pause.max(cost.saturating_mul(2)).min(SUSPECT_MAX);
            known.lost_count = known.lost_count.saturating_add(1);
            known.suspect_until = now.checked_add(jittered(pause));
        }
    }

    /// Returns whom to ask for the map, or when to look again if everybody is left alone. `avoided` is known to be slow.
    pub(crate) fn teacher(
        &mut self,
        avoided: Option<usize>,
        now: Instant,
    ) -> Result<usize, Instant> {
        let count = self.servers.len();
        let is_fit = |server: usize| Some(server) != avoided && !self.is_suspect(server, now);
        let hinted = self.hint.filter(|&server| is_fit(server));
        let is_listed = |server: usize| self.map.as_ref().is_some_and(|map| map.has(server));
        let turn = || (0..count).map(|step| (self.next_teacher.saturating_add(step)) % count);
        let found = hinted
            .or_else(|| turn().find(|&server| is_fit(server) && is_listed(server)))
            .or_else(|| turn().find(|&server| is_fit(server)));
        match found {
            Some(server) => {
                self.hint = None;
                self.next_teacher = server.saturating_add(1);
                Ok(server)
            }
            None => Err(self
                .servers
                .iter()
                .filter_map(|known| known.suspect_until)
                .min()
                .unwrap_or(now + LEARN_PAUSE_MAX)),
        }
    }

    /// Takes the map that `teacher` told in the time `cost`; returns whether it brought something new.
    pub(crate) fn learned(
        &mut self,
        teacher: usize,
        ranges: &[Range],
        cost: Duration,
        now: Instant,
    ) -> bool {
        self.is_well(teacher);
        let is_alone =
            ranges.iter().all(|range| Some(range.server) == ranges.first().map(|r| r.server));
        let map = Map::new(ranges, |range| {
            if is_alone { teacher } else { self.number_of(&range.server.to_string()) }
        });
        let is_new = self.map.as_ref() != Some(&map);
        if let Some(before) = self.map.as_ref().filter(|_| is_new) {
            let before = before.servers();
            self.newcomer = map.servers().difference(&before).next().copied().or(self.newcomer);
        }
        self.map = Some(map);
        if is_new {
            self.moved.clear();
        }
        self.is_stale = !self.moved.is_empty();
        self.learned_at = Some(now);
        self.number = self.number.saturating_add(1);
        let is_rare = self.next_learn_at.is_none_or(|at| at + LEARN_PAUSE_MAX < now);
        self.learn_pause = match is_new || is_rare {
            true => LEARN_PAUSE_MIN,
            false => self.learn_pause.saturating_mul(2).min(LEARN_PAUSE_MAX),
        };
        let pause = self.learn_pause.max(cost.saturating_mul(LEARN_COST_FACTOR));
        self.next_learn_at = now.checked_add(jittered(pause));
        is_new
    }

    /// Takes note that `teacher` told no map; another one is to be asked.
    pub(crate) fn not_learned(&mut self, teacher: usize, now: Instant) {
        self.unreachable(teacher, Duration::ZERO, now);
    }

    /// Returns whether the map is worth asking for although nobody waits for it.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.is_stale && self.learned_at.is_none_or(|at| at + STALE_PAUSE <= now)
    }

    /// Returns when the map may be asked for, if not now.
    pub(crate) fn learn_at(&self, now: Instant) -> Option<Instant> {
        self.next_learn_at.filter(|at| *at > now)
    }

    fn learn_step(&self, now: Instant) -> Step {
        self.learn_at(now).map_or(Step::Learn, Step::Wait)
    }

    fn doubt(&self, route: &mut Route) {
        route.tried.clear();
        route.doubted = Some(self.number);
    }

    fn primary(&self, token: Token) -> Option<usize> {
        let moved = self.moved.get(&token.slot()).copied();
        moved.or_else(|| self.map.as_ref()?.primary(token))
    }

    fn is_suspect(&self, server: usize, now: Instant) -> bool {
        let known = self.servers.get(server);
        known.is_some_and(|known| known.suspect_until.is_some_and(|until| until > now))
    }

    /// Chooses a server for a write: the primary, or after that one refused, another member, or in the end the newcomer.
    fn choose_primary(&self, route: &Route, now: Instant) -> Option<usize> {
        let primary = self.primary(route.token)?;
        if !route.tried.contains(&primary) {
            return Some(primary).filter(|&primary| !self.is_suspect(primary, now));
        }
        let is_fit =
            |server: &&usize| !route.tried.contains(server) && !self.is_suspect(**server, now);
        let members = self.map.as_ref()?.members(route.token);
        members.iter().chain(&self.newcomer).find(is_fit).copied()
    }

    /// Chooses a member for a read: after one refused the primary, otherwise in turn.
    fn choose(&mut self, route: &Route, now: Instant) -> Option<usize> {
        let members = self.map.as_ref()?.members(route.token);
        let is_fit =
            |server: &&usize| !route.tried.contains(server) && !self.is_suspect(**server, now);
        if !self.spreads_reads || !route.tried.is_empty() {
            return members.iter().find(is_fit).copied();
        }
        let begin = self.turn % members.len().max(1);
        let (before, from) = members.split_at_checked(begin).unwrap_or((members, &[]));
        let chosen = from.iter().chain(before).find(is_fit).copied();
        self.turn = self.turn.wrapping_add(1);
        chosen
    }

    /// Returns the number of the server at `address`, a new one if it is not known.
    fn number_of(&mut self, address: &str) -> usize {
        match self.servers.iter().position(|known| known.address == address) {
            Some(server) => server,
            None => {
                self.servers.push(Known::new(address.to_owned()));
                self.servers.len() - 1
            }
        }
    }
}

impl Known {
    fn new(address: String) -> Self {
        Self { address, suspect_until: None, lost_count: 0 }
    }
}

/// Returns a pause drawn from the upper half of `pause`, so that clients that met the same do not return together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
