//! Figures out of the reply to `info`.

/// Returns the number that `info` gives under `name`.
pub(crate) fn figure(info: &str, name: &str) -> u64 {
    let mut words = info.split(' ').skip(1);
    let value = loop {
        let (Some(found), Some(value)) = (words.next(), words.next()) else {
            panic!("no `{name}` in {info}")
        };
        if found == name {
            break value;
        }
    };
    value.parse().unwrap_or_else(|e| panic!("`{name}` is `{value}`: {e}"))
}
