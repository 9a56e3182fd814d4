//! How ids stand in JSON: servers as 32 hexadecimal digits, slots as numbers, the ring as its tokens.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::map::{Server, Slot};
use crate::types::{Incarnation, ServerId, SlotId};

/// A server's id as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) ServerId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

fn slot<E: serde::de::Error>(index: u16) -> Result<SlotId, E> {
    SlotId::new(index).ok_or_else(|| E::custom(format_args!("no slot has the number {index}")))
}

/// One server.
pub(crate) mod id {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        id: &ServerId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Id(*id).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ServerId, D::Error> {
        Id::deserialize(d).map(|id| id.0)
    }
}

/// A server in one of its lives, or none.
pub(crate) mod pair {
    use super::*;

    type Pair = Option<(ServerId, Incarnation)>;

    pub(crate) fn serialize<S: Serializer>(pair: &Pair, serializer: S) -> Result<S::Ok, S::Error> {
        pair.map(|(id, incarnation)| (Id(id), incarnation)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Pair, D::Error> {
        let pair = Option::<(Id, Incarnation)>::deserialize(deserializer)?;
        Ok(pair.map(|(id, incarnation)| (id.0, incarnation)))
    }
}

/// Servers in their order.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(list: &[ServerId], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(list.iter().map(|id| Id(*id)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ServerId>, D::Error> {
        Ok(Vec::<Id>::deserialize(d)?.into_iter().map(|id| id.0).collect())
    }
}

/// Servers by id.
pub(crate) mod servers {
    use super::*;

    type Servers = Vec<(ServerId, Server)>;

    pub(crate) fn serialize<S: Serializer>(servers: &Servers, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(servers.iter().map(|(id, server)| (Id(*id), server)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Servers, D::Error> {
        let servers = BTreeMap::<Id, Server>::deserialize(d)?;
        Ok(servers.into_iter().map(|(id, server)| (id.0, server)).collect())
    }
}

/// Slots by number.
pub(crate) mod slots {
    use super::*;

    type Slots = Vec<(SlotId, Slot)>;

    pub(crate) fn serialize<S: Serializer>(slots: &Slots, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(slots.iter().map(|(id, slot)| (id.index(), slot)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Slots, D::Error> {
        let slots = Vec::<(u16, Slot)>::deserialize(d)?;
        slots.into_iter().map(|(index, members)| Ok((slot(index)?, members))).collect()
    }
}

/// The ring, as the version that changed it last, how many slots it is cut into, and its tokens.
pub(crate) mod ring {
    use super::*;
    use crate::types::Version;
    use hashring::Ring;

    type Changed = Option<(Version, Ring)>;

    #[derive(Serialize, Deserialize)]
    struct Tokens {
        changed: Version,
        slots: u16,
        tokens: Vec<(u16, Id)>,
    }

    pub(crate) fn serialize<S: Serializer>(ring: &Changed, s: S) -> Result<S::Ok, S::Error> {
        let tokens = |(changed, ring): &(Version, Ring)| Tokens {
            changed: *changed,
            slots: ring.slot_count(),
            tokens: ring.tokens().map(|(token, server)| (token.index(), Id(server))).collect(),
        };
        ring.as_ref().map(tokens).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Changed, D::Error> {
        let Some(read) = Option::<Tokens>::deserialize(d)? else { return Ok(None) };
        let token = |(index, id): (u16, Id)| Ok((slot(index)?, id.0));
        let tokens = read.tokens.into_iter().map(token).collect::<Result<Vec<_>, D::Error>>()?;
        let ring = Ring::from_tokens(read.slots, tokens).map_err(D::Error::custom)?;
        Ok(Some((read.changed, ring)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Delta, Standing};
    use crate::types::{Epoch, Version};
    use hashring::Ring;

    const A: ServerId = ServerId(0xa);
    const B: ServerId = ServerId(0xb);

    fn delta() -> Delta {
        let server = Server {
            address: "127.0.0.1:7".to_owned(),
            incarnation: Incarnation(3),
            life: u64::MAX,
            standing: Standing::Away,
            changed: Version(5),
        };
        let slot_nine = Slot {
            epoch: Epoch(4),
            term: Epoch(2),
            changed: Version(6),
            primary: Some((A, Incarnation(3))),
            backups: vec![B],
            learner: Some((ServerId(0xc), Incarnation(1))),
            former: Vec::new(),
        };
        let given_up = Slot { epoch: Epoch(1), former: vec![A], ..Slot::default() };
        let id = |index| SlotId::new(index).unwrap();
        Delta {
            from: Version(4),
            to: Version(6),
            servers: vec![(A, server)],
            ring: Some((Version(5), Ring::from_tokens(16, [(id(7), A), (id(15), B)]).unwrap())),
            slots: vec![(id(9), slot_nine), (id(10), given_up)],
        }
    }

    /// The delta as it stands on disk and on the wire.
    const TEXT: &str = concat!(
        r#"{"from":4,"to":6,"servers":{"0000000000000000000000000000000a":{"#,
        r#""address":"127.0.0.1:7","incarnation":3,"life":18446744073709551615,"#,
        r#""standing":"away","changed":5}},"#,
        r#""ring":{"changed":5,"slots":16,"tokens":[[7,"0000000000000000000000000000000a"],"#,
        r#"[15,"0000000000000000000000000000000b"]]},"#,
        r#""slots":[[9,{"epoch":4,"term":2,"changed":6,"#,
        r#""primary":["0000000000000000000000000000000a",3],"#,
        r#""backups":["0000000000000000000000000000000b"],"#,
        r#""learner":["0000000000000000000000000000000c",1]}],"#,
        r#"[10,{"epoch":1,"term":0,"changed":0,"primary":null,"backups":[],"learner":null,"#,
        r#""former":["0000000000000000000000000000000a"]}]]}"#
    );

    #[test]
    fn a_delta_is_written_as_this_text_and_read_back() {
        assert_eq!(serde_json::to_string(&delta()).unwrap(), TEXT);
        assert_eq!(serde_json::from_str::<Delta>(TEXT).unwrap(), delta());
    }

    #[test]
    fn what_did_not_change_is_left_out_and_missing_is_nothing() {
        let text = r#"{"from":4,"to":6}"#;
        let (from, to) = (Version(4), Version(6));
        let empty = Delta { from, to, servers: vec![], ring: None, slots: vec![] };
        assert_eq!(serde_json::to_string(&empty).unwrap(), text);
        assert_eq!(serde_json::from_str::<Delta>(text).unwrap(), empty);
    }

    #[test]
    fn standings_are_lower_case_words() {
        for (standing, text) in [
            (Standing::Standby, "\"standby\""),
            (Standing::Serving, "\"serving\""),
            (Standing::Leaving, "\"leaving\""),
            (Standing::Away, "\"away\""),
        ] {
            assert_eq!(serde_json::to_string(&standing).unwrap(), text);
            assert_eq!(serde_json::from_str::<Standing>(text).unwrap(), standing);
        }
    }

    #[test]
    fn ids_slots_and_rings_that_cannot_be_are_refused() {
        let id = "0000000000000000000000000000000a";
        for (good, bad) in [
            (id, "000000000000000000000000000000a"),
            (id, "0000000000000000000000000000000A"),
            (id, "+000000000000000000000000000000a"),
            ("[[9,{", "[[4096,{"),
            ("[[9,{", "[[-1,{"),
            ("[[7,", "[[16,"),
            ("[15,", "[7,"),
            ("\"slots\":16", "\"slots\":15"),
            ("\"slots\":16", "\"slots\":0"),
            ("\"epoch\":4", "\"epoch\":4294967296"),
            ("\"from\":4", "\"from\":-4"),
        ] {
            assert!(TEXT.contains(good), "{good}");
            let spoilt = TEXT.replace(good, bad);
            assert!(serde_json::from_str::<Delta>(&spoilt).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_cut_of_a_delta_is_an_error_and_no_panic() {
        for len in 0..TEXT.len() {
            assert!(serde_json::from_str::<Delta>(&TEXT[..len]).is_err(), "{len}");
        }
    }
}
