//! `docs/PROTOCOL.md` and `--help` name what there is.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::played::{Played, start};

const DOCUMENT: &str = include_str!("../../../../docs/PROTOCOL.md");

fn part() -> &'static str {
    let (_, part) = DOCUMENT.split_once("\n## The ECS's verbs\n").unwrap();
    part.split_once("\n## ").unwrap().0
}

/// Adds the names of all fields.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                names(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

#[test]
fn every_verb_and_every_field_of_its_json_is_in_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let _servers: Vec<_> = (1..=3).map(|name| Played::start(&ecs, name)).collect();
    let unknown = ecs.ask("nonsense");
    let (_, verbs) = unknown.rsplit_once(": ").unwrap();
    for verb in verbs.split(", ") {
        assert!(part().contains(&format!("`{verb}")), "{verb}");
    }
    let leave = format!("plan leave {:032x}", 1);
    for request in ["status", "ring", "plan", leave.as_str()] {
        let reply = ecs.ask(request);
        let (_, json) = reply.split_once(' ').unwrap();
        let mut found = BTreeSet::new();
        names(&serde_json::from_str(json).unwrap(), &mut found);
        assert!(found.len() > 3, "{reply}");
        for name in found {
            assert!(part().contains(&format!("`{name}`")), "{name} of {request}");
        }
    }
}
