//! The connections between this server and one peer: sessions, positions, acknowledgements (R12).
//!
//! The session that this server opened carries what it says as primary; the positions of its messages are counted, and a
//! *mark* at a position says what an acknowledgement beyond it means. The session that the peer opened carries
//! what the peer says as primary; messages about an epoch that is not known here yet wait, with all that follow
//! them, for the map.

use std::collections::VecDeque;

use crate::lease::Lease;
use crate::message::Message;
use crate::storage::Position;
use crate::types::{Epoch, Incarnation, Lsn, Number, Session, SlotId, Time, Version};

/// Messages that wait for a newer map on one session, at most; then the session is closed and begins again.
pub(crate) const BLOCKED_COUNT_MAX: usize = 65_536;
/// Bytes of those messages at most, about: four values of the greatest length.
pub(crate) const BLOCKED_LEN_MAX: usize = 64 << 20;

/// Marks whose memory is kept when all are reached.
const KEPT_MARK_COUNT_MAX: usize = 16_384;

/// Another server.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) outward: Option<Outward>,
    pub(crate) inward: Option<Inward>,
    pub(crate) lease: Lease,
    /// Not to be connected to again before this time.
    pub(crate) connect_at: Time,
    /// When a beacon was sent last.
    pub(crate) beacon_at: Option<Time>,
    /// One is to be sent before its time: the map changed.
    pub(crate) owes_news: bool,
    /// The newest version of the map that it is known to have.
    pub(crate) version: Version,
    /// When it was asked last for a newer map.
    pub(crate) pulled_at: Option<Time>,
    /// A request for its removal that is not settled: nothing is granted to it (R15).
    pub(crate) accused: Option<Number>,
    /// It left prepares unacknowledged for too long: no read lease for it (R16, R21).
    pub(crate) is_suspect: bool,
    /// It said that its disk takes no more puts.
    pub(crate) is_full: bool,
}

/// The session that this server opened.
#[derive(Debug)]
pub(crate) struct Outward {
    pub(crate) session: Session,
    /// Which life of the peer the map had when it was opened, and where.
    pub(crate) to: (Incarnation, String),
    pub(crate) is_connected: bool,
    /// Messages sent.
    pub(crate) sent: u64,
    /// The position of the last message about a slot: only those are acknowledged.
    pub(crate) slot_sent: u64,
    /// Acknowledged up to here.
    pub(crate) acked: u64,
    /// What acknowledgements mean, in the order of their positions.
    pub(crate) marks: VecDeque<(u64, Mark)>,
}

/// What an acknowledgement of a position means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) slot: SlotId,
    /// The life of the follower it was sent to.
    pub(crate) life: u64,
    pub(crate) meaning: Meaning,
}

/// What is durable when a mark comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// All of the log up to this lsn.
    Upto(Lsn),
    /// The learner's commit point, which it keeps for certain.
    Level,
    /// A chunk, behind which the walk goes on.
    Chunk,
    /// The last chunk, with which all of the log up to this lsn is there.
    WalkEnd(Lsn),
}

/// The session that the peer opened.
#[derive(Debug)]
pub(crate) struct Inward {
    pub(crate) session: Session,
    /// Messages received.
    pub(crate) received: u64,
    /// Positions to acknowledge, each with what must be durable first.
    pub(crate) owed: VecDeque<(u64, Position)>,
    /// Messages that wait for a newer map, with their positions.
    blocked: VecDeque<(u64, Message)>,
    /// Their bytes.
    blocked_len: usize,
}

impl Inward {
    pub(crate) fn new(session: Session) -> Self {
        let (owed, blocked) = (VecDeque::new(), VecDeque::new());
        Self { session, received: 0, owed, blocked, blocked_len: 0 }
    }

    /// Lets a message wait behind the others. Returns whether there was room.
    pub(crate) fn block(&mut self, position: u64, message: Message) -> bool {
        let len = message.byte_len();
        let has_room = self.blocked.len() < BLOCKED_COUNT_MAX
            && (self.blocked.is_empty() || self.blocked_len.saturating_add(len) <= BLOCKED_LEN_MAX);
        if has_room {
            self.blocked_len += len;
            self.blocked.push_back((position, message));
        }
        has_room
    }

    /// Takes out the first message that waits, with its position, if `may_go` says so of its slot and epoch.
    pub(crate) fn unblock(
        &mut self,
        may_go: impl Fn(SlotId, Epoch) -> bool,
    ) -> Option<(u64, Message)> {
        if let Some((_, Message::Slot { slot, epoch, .. })) = self.blocked.front()
            && !may_go(*slot, *epoch)
        {
            return None;
        }
        let first = self.blocked.pop_front()?;
        self.blocked_len -= first.1.byte_len();
        Some(first)
    }

    /// Returns whether messages wait.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Notes that a position is to be acknowledged when everything appended so far is durable.
    pub(crate) fn owe(&mut self, position: u64, appended: Position) {
        match self.owed.back_mut() {
            Some((last, at)) if *at == appended => *last = position,
            _ => self.owed.push_back((position, appended)),
        }
    }

    /// Takes out the position that can be acknowledged now, if there is a new one.
    pub(crate) fn due(&mut self, durable: Position) -> Option<u64> {
        let mut due = None;
        while let Some((position, at)) = self.owed.front().copied() {
            if at > durable {
                break;
            }
            due = Some(position);
            self.owed.pop_front();
        }
        due
    }
}

impl Outward {
    pub(crate) fn new(session: Session, to: (Incarnation, String)) -> Self {
        Self {
            session,
            to,
            is_connected: false,
            sent: 0,
            slot_sent: 0,
            acked: 0,
            marks: VecDeque::new(),
        }
    }

    /// Puts a mark at the last message about a slot. Returns whether that is acknowledged already.
    pub(crate) fn mark(&mut self, mark: Mark) -> bool {
        let is_reached = self.acked >= self.slot_sent;
        if !is_reached {
            self.marks.push_back((self.slot_sent, mark));
        }
        is_reached
    }

    /// Notes that everything up to a position is durable there.
    pub(crate) fn acknowledge(&mut self, upto: u64) {
        self.acked = self.acked.max(upto);
    }

    /// Takes out the next mark that is reached.
    pub(crate) fn pop_mark(&mut self) -> Option<Mark> {
        self.marks.front().filter(|(position, _)| *position <= self.acked)?;
        let (_, mark) = self.marks.pop_front()?;
        if self.marks.is_empty() {
            self.marks.shrink_to(KEPT_MARK_COUNT_MAX);
        }
        Some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SlotMessage;
    use crate::types::{Bytes, Record};

    #[test]
    fn a_position_is_acknowledged_when_all_appended_before_it_is_durable() {
        let mut inward = Inward::new(Session::default());
        inward.owe(1, Position(10));
        inward.owe(2, Position(10));
        inward.owe(3, Position(20));
        assert_eq!(inward.due(Position(9)), None);
        assert_eq!(inward.due(Position(10)), Some(2));
        assert_eq!(inward.due(Position(10)), None);
        assert_eq!(inward.due(Position(25)), Some(3));
    }

    fn waiting(value_len: usize) -> Message {
        let value = Some(vec![0; value_len].into());
        let (key, request) = (Bytes::from(*b"k"), None);
        let record = Record { lsn: Lsn(1), key, value, expires_at_ms: None, request };
        let body = SlotMessage::Prepare { commit: None, record };
        Message::Slot { slot: SlotId::new(1).unwrap(), epoch: Epoch(2), body }
    }

    #[test]
    fn messages_wait_up_to_their_count_and_not_one_past() {
        let mut inward = Inward::new(Session::default());
        for position in 0..BLOCKED_COUNT_MAX as u64 {
            assert!(inward.block(position, waiting(0)));
        }
        assert!(!inward.block(0, waiting(0)));
    }

    #[test]
    fn messages_wait_up_to_their_bytes_and_not_one_past() {
        let mut inward = Inward::new(Session::default());
        let head_len = waiting(0).byte_len();
        assert!(inward.block(1, waiting(BLOCKED_LEN_MAX / 2 - head_len)));
        assert!(!inward.block(2, waiting(BLOCKED_LEN_MAX / 2 - head_len + 1)));
        assert!(inward.block(2, waiting(BLOCKED_LEN_MAX / 2 - head_len)));
        assert!(!inward.block(3, waiting(0)));
        assert_eq!(inward.unblock(|_, _| false), None);
        assert_eq!(inward.unblock(|_, epoch| epoch == Epoch(2)).map(|(at, _)| at), Some(1));
        assert!(inward.block(3, waiting(0)), "what went makes room");
        let mut inward = Inward::new(Session::default());
        assert!(inward.block(1, waiting(BLOCKED_LEN_MAX)), "one alone may always wait");
        assert!(!inward.block(2, waiting(0)));
    }

    #[test]
    fn a_mark_is_reached_by_the_acknowledgement_of_the_message_before_it() {
        let slot = SlotId::new(1).unwrap();
        let mark = Mark { slot, life: 1, meaning: Meaning::Chunk };
        let mut outward = Outward::new(Session::default(), Default::default());
        (outward.sent, outward.slot_sent) = (3, 3);
        assert!(!outward.mark(mark));
        (outward.sent, outward.slot_sent) = (5, 4);
        assert!(!outward.mark(mark));
        for upto in [3, 4] {
            outward.acknowledge(upto);
            assert_eq!((outward.pop_mark(), outward.pop_mark()), (Some(mark), None));
        }
        assert!(outward.mark(mark), "acknowledged already");
    }
}
