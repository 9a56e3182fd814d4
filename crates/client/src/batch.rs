//! Many keys at once: all servers work at their parts side by side.
//!
//! Results come in the order of the keys, each with its own outcome: a batch is no transaction. One deadline holds for the whole
//! batch. A key may be there several times; its writes are done in their order.

use crate::answer::{Attempt, Miss};
use crate::core::Core;
use crate::op::{Ask, Op, Value};
use crate::run::Run;
use crate::{Client, Error, Outcome, PutOptions, Stored};

impl Client {
    /// Stores each value under its key.
    pub fn mput<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        entries: &[(K, V)],
    ) -> Vec<Outcome<Stored>> {
        let options = PutOptions::default();
        let asks = entries
            .iter()
            .map(|(key, value)| (key.as_ref(), Ask::Put { value: value.as_ref().into(), options }));
        many(&mut self.core, asks).map(|attempt| attempt.map(Value::stored).into()).collect()
    }

    /// Deletes each key; done with whether it was there.
    pub fn mdelete<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Vec<Outcome<bool>> {
        let asks = keys.iter().map(|key| (key.as_ref(), Ask::Delete));
        many(&mut self.core, asks).map(|attempt| attempt.map(Value::deleted).into()).collect()
    }

    /// Returns the value of each key, if it is there.
    pub fn mget<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Vec<Result<Option<Vec<u8>>, Error>> {
        let asks = keys.iter().map(|key| (key.as_ref(), Ask::Get));
        let value = |attempt: Attempt<Value>| attempt.map(Value::found).map_err(|miss| miss.error);
        many(&mut self.core, asks).map(value).collect()
    }
}

/// Carries out all operations; returns their results in order.
fn many<'a>(
    core: &mut Core,
    asks: impl Iterator<Item = (&'a [u8], Ask<'a>)>,
) -> impl Iterator<Item = Attempt<Value>> {
    let deadline = core.deadline(core.config.timeout);
    let mut run = Run::new(core);
    // What may not be sent keeps its place among the results.
    let mut results: Vec<Option<Attempt<Value>>> = Vec::new();
    for (key, ask) in asks {
        let value_checked = match &ask {
            Ask::Put { value, .. } => run.core().check_value(value),
            Ask::Delete | Ask::Get | Ask::Read => Ok(()),
        };
        match run.core().check_key(key).and(value_checked) {
            Ok(()) => {
                let number = run.core().take_number();
                run.submit(Op::new(key.into(), ask, deadline.clone(), number));
                results.push(None);
            }
            Err(error) => results.push(Some(Err(Miss::definite(error)))),
        }
    }
    for result in results.iter_mut().filter(|result| result.is_none()) {
        *result = run.next();
    }
    results.into_iter().flatten()
}
