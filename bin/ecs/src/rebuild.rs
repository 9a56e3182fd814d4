//! A new folder for an ECS whose folder is lost, made of the newest map that the servers heard of.
//!
//! Each server is asked by the verb `map` ([`WholeMap`]), and tells the newest map that it *heard of*, whether its disk has
//! taken it or not. A map is made of decisions that were durable before anybody heard
//! of them, one after the other, so the newest has all that any other has. A decision that no server has heard of bound
//! nobody, and may be lost. But one that only a server knows which was not asked would be decided again,
//! differently: hence all servers of the newest map must have answered, except those of which the operator says that they
//! are gone for good (`--accept-loss`).
//!
//! What the old ECS said last may stand unread in a server's socket. A server reads to the end of a connection before it
//! gives it up; so one that says that it still has a connection with its ECS is asked again until it has none, or until
//! [`END_WAIT_MAX`]: then the old ECS lives, and nothing is made. If all servers are asked thus, nobody can hear of a newer
//! map afterwards, for whoever could bring it would have told it.
//!
//! Servers then find an ECS of the same cluster, and a map that they have already. Left out: an old ECS that is cut off from all
//! servers and not dead, of which nobody here can know.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use cluster::coordinator::{WholeMap, snapshot_of};
use cluster::lines::{DELTA_LEN_MAX, REPLICA_COUNT_MAX};
use cluster::{Map, Version};

use crate::Error;
use crate::args::Rebuild;
use crate::folder::Folder;

/// How long a server may take to accept a connection, and for each piece of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may take to notice that its ECS is gone: the network is given up after 10 s in which nothing comes
/// through, and something is sent every second.
const END_WAIT_MAX: Duration = Duration::from_secs(20);

/// Between two questions to a server that has not noticed yet.
const END_LOOK: Duration = Duration::from_millis(200);

/// Bytes of an answer: a map, with its verb and the cluster's number.
const ANSWER_LEN_MAX: u64 = DELTA_LEN_MAX as u64 + 1024;

/// Makes the folder, and tells `out` what was done.
///
/// # Errors
/// [`Error::Rebuild`] says why it cannot be made; nothing is left behind then but an empty folder.
pub(crate) fn rebuild(args: &Rebuild, out: &mut dyn Write) -> Result<(), Error> {
    let folder = Folder::take(&args.dir)?;
    if folder.is_founded() || folder.path("log").exists() {
        return Err(Error::Exists { dir: args.dir.clone() });
    }
    let mut maps = Vec::new();
    for address in &args.from {
        match ask_in_the_end(address) {
            Ok(map) if map.has_ecs => {
                return Err(Error::Rebuild {
                    why: format!(
                        "{address} is still connected to an ECS; end that one for good first"
                    ),
                });
            }
            Ok(map) => {
                say(out, &format!("{address}: map {}", map.delta.to));
                maps.push((address.as_str(), map));
            }
            Err(why) if args.accept_loss => say(out, &format!("{address}: {why}; left out")),
            Err(why) => {
                return Err(Error::Rebuild {
                    why: format!(
                        "{address}: {why}; start that server, or say --accept-loss if it is gone for good"
                    ),
                });
            }
        }
    }
    let (cluster, map) = newest(&maps)?;
    check_asked(&map, &maps, args.accept_loss)?;
    folder.write_snapshot(cluster, &snapshot_of(&map))?;
    say(
        out,
        &format!(
            "made {} of cluster {cluster:032x}: map {}, {} servers; start `ecs --dir {}` at the address that the servers know",
            args.dir.display(),
            map.version(),
            map.servers().len(),
            args.dir.display()
        ),
    );
    Ok(())
}

/// Tells what was done. The folder counts, not whether anybody reads this.
fn say(out: &mut dyn Write, line: &str) {
    writeln!(out, "{line}").unwrap_or_default();
}

/// Returns the newest map that the server at `address` heard of, once it can hear of no other; or, if its ECS does not end, while
/// it can.
fn ask_in_the_end(address: &str) -> Result<WholeMap, String> {
    let until = Instant::now() + END_WAIT_MAX;
    loop {
        match ask(address) {
            Ok(map) if map.has_ecs && Instant::now() < until => std::thread::sleep(END_LOOK),
            outcome => return outcome,
        }
    }
}

/// Returns the newest map that the server at `address` heard of.
fn ask(address: &str) -> Result<WholeMap, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut addresses = address.to_socket_addrs().map_err(text)?;
    let resolved = addresses.next().ok_or("no such address")?;
    let mut stream = TcpStream::connect_timeout(&resolved, PATIENCE).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(text)?;
    stream.write_all(b"map\n").map_err(text)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_LEN_MAX)).read_line(&mut line).map_err(text)?;
    let answer = line.strip_suffix('\n').ok_or("it broke off its answer")?;
    let json = answer.strip_prefix("map_success ").ok_or_else(|| {
        let told: String = answer.chars().filter(|c| !c.is_control()).take(100).collect();
        format!("it did not tell its map but: {told}")
    })?;
    serde_json::from_str(json).map_err(|error| format!("its map makes no sense: {error}"))
}

/// Returns the newest of the maps, all of which must be of one cluster.
fn newest(maps: &[(&str, WholeMap)]) -> Result<(u128, Map), Error> {
    let refused = |why: String| Error::Rebuild { why };
    let by_version = |(_, whole): &&(&str, WholeMap)| whole.delta.to;
    let Some((address, whole)) = maps.iter().max_by_key(by_version) else {
        return Err(refused("no server could be asked".to_owned()));
    };
    if let Some((other, _)) = maps.iter().find(|(_, other)| other.cluster != whole.cluster) {
        return Err(refused(format!(
            "{other} and {address} are of different clusters; name the servers of one"
        )));
    }
    let cluster = u128::from_str_radix(&whole.cluster, 16);
    let cluster = cluster
        .map_err(|error| refused(format!("{address}: bad number of the cluster: {error}")))?;
    let Some((_, ring)) = &whole.delta.ring else {
        return Err(refused(
            "no server has been told of a ring yet; start a new cluster".to_owned(),
        ));
    };
    if whole.delta.from != Version(0)
        || !(1..=REPLICA_COUNT_MAX).contains(&(whole.replica_count as u64))
    {
        return Err(refused(format!("{address} told a map that is not whole")));
    }
    let mut map = Map::new(ring.slot_count(), whole.replica_count);
    let taken = map.apply(&whole.delta);
    taken
        .map_err(|error| refused(format!("{address} told a map that makes no sense: {error:?}")))?;
    Ok((cluster, map))
}

/// Checks that every server of the map was asked.
fn check_asked(map: &Map, maps: &[(&str, WholeMap)], is_loss_accepted: bool) -> Result<(), Error> {
    let is_asked = |address: &str| maps.iter().any(|(asked, _)| *asked == address);
    let left_out: Vec<_> = map
        .servers()
        .iter()
        .filter(|(_, server)| !is_asked(&server.address))
        .map(|(id, server)| format!("{id} ({})", server.address))
        .collect();
    if left_out.is_empty() || is_loss_accepted {
        return Ok(());
    }
    Err(Error::Rebuild {
        why: format!(
            "these servers of the cluster were not asked: {}; name all with --from, or say --accept-loss if they are gone for good",
            left_out.join(", ")
        ),
    })
}
