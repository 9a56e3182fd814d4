//! Values with an end: each is put once, by one client, and nobody deletes it.
//!
//! | what | when |
//! |---|---|
//! | phantom, wrong | it is there, though its put was never carried out; or with another value |
//! | lost | it is not there before its end, though its put was acknowledged before, or it was seen before |
//! | immortal | it is there for somebody who asked after its end |
//! | resurrected | it is there, though it was seen to be gone before |
//!
//! An end is a time on the clock on the wall, and here all clocks are the history's own. A register with a clock inside is
//! no matter of the search in `linear`.

use super::OfKey;
use crate::history::{Kind, Operation, Status};

/// Checks one key.
pub fn check(operations: &OfKey<'_>) -> Result<(), String> {
    let mut puts = operations.iter().filter(|o| o.op == Kind::Put);
    let (put, second) = (puts.next().copied(), puts.next());
    if second.is_some() {
        return Err("a key that was to be written once was written twice".to_owned());
    }
    let is_read = |o: &&&Operation| o.op == Kind::Get && o.status == Status::Ok;
    let reads: Vec<&Operation> = operations.iter().filter(is_read).copied().collect();
    for read in &reads {
        let was_there = |at: &Operation| {
            put.is_some_and(|put| put.status == Status::Ok && put.is_before(at))
                || reads.iter().any(|earlier| earlier.value.is_some() && earlier.is_before(at))
        };
        match &read.value {
            Some(_) => {
                check_found(read, put)?;
                let mut gone = reads.iter().filter(|earlier| earlier.value.is_none());
                if gone.any(|earlier| earlier.is_before(read) && was_there(earlier)) {
                    return Err(format!("resurrected: it was gone before: {read}"));
                }
            }
            None => {
                let ends = put.and_then(|put| put.ends).unwrap_or(u64::MAX);
                if was_there(read) && read.ret.is_some_and(|ret| ret < ends) {
                    return Err(format!("lost: it has not ended yet: {read}"));
                }
            }
        }
    }
    Ok(())
}

fn check_found(read: &Operation, put: Option<&Operation>) -> Result<(), String> {
    let Some(put) = put.filter(|put| put.status != Status::Fail && !read.is_before(put)) else {
        return Err(format!("phantom: no put of it was carried out: {read}"));
    };
    if read.value != put.value {
        return Err(format!("wrong: another value than was put: {read}"));
    }
    match put.ends.is_some_and(|ends| ends <= read.call) {
        true => Err(format!("immortal: it ended before it was asked for: {read}")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::parse;
    use super::*;

    /// Returns what is said of a value put from 1 to 2 that ends at 50, and these reads.
    fn said(reads: &str) -> Result<(), String> {
        let history = parse(&format!("0 m0-0 put a 1 2 ok stored 1.1\n{reads}"));
        let mut operations = history.operations().to_vec();
        operations[0].ends = Some(50);
        check(&operations.iter().collect())
    }

    #[test]
    fn a_value_is_there_until_its_end_and_then_gone_for_good() {
        assert_eq!(said("1 m0-0 get a 10 49 ok found 1.1\n1 m0-0 get - 50 60 ok absent -"), Ok(()));
        assert_eq!(said("1 m0-0 get a 49 70 ok found 1.1"), Ok(()));
        assert_eq!(said("1 m0-0 get - 49 50 ok absent -"), Ok(()));
    }

    #[test]
    fn each_way_to_be_wrong_is_named() {
        let cases = [
            ("1 m0-0 get - 10 49 ok absent -", "lost"),
            ("1 m0-0 get a 50 60 ok found 1.1", "immortal"),
            ("1 m0-0 get b 10 20 ok found 1.1", "wrong"),
            ("1 m0-0 get - 40 51 ok absent -\n1 m0-0 get a 49 60 ok found 1.1", ""),
            ("1 m0-0 get - 30 48 ok absent -\n1 m0-0 get a 49 60 ok found 1.1", "lost"),
        ];
        for (reads, word) in cases {
            let said = said(reads);
            assert!(said.is_ok() == word.is_empty(), "{reads}: {said:?}");
            assert!(said.err().is_none_or(|text| text.starts_with(word)), "{reads}");
        }
    }
}
