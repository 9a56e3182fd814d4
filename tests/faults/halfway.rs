//! Kills in the middle of a join or a leave: of the server that comes or goes.
//!
//! All is whole before. Where the ring does not allow it, a server is brought on or off it first. Then the movement begins; as soon as
//! the ECS says that some slots are moved and some are not, the server is killed, and what the ECS says then shows that it was in the
//! middle. A server that leaves is started again, or stays away for good: then the others must make its copies elsewhere.

use std::time::Duration;

use cluster::Standing;
use cluster::coordinator::ServerStatus;
use fastrand::Rng;

use crate::cluster::{Cluster, Movement, RING_COUNT_MIN};
use crate::network::Place;
use crate::patience::wait_for;

/// How long a movement may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// Slots of which a server is a member that has just begun to join, at most.
const FEW_COUNT: usize = 12;

/// Begins a leave, and kills who leaves. Returns whether it is to be started again; `None` if it had gone already.
///
/// # Errors
/// If something is wrong with the cluster.
pub(crate) fn kill_leaver(
    cluster: &mut Cluster,
    number: u8,
    rng: &mut Rng,
) -> Result<Option<bool>, String> {
    if cluster.on_ring.len() == RING_COUNT_MIN {
        let other = cluster.away()[0];
        move_whole(cluster, Movement::Join(other))?;
    }
    let before = cluster.standing(number).map(|server| held(&server));
    let before = before.ok_or("the ECS does not answer")?;
    cluster.begin(Movement::Leave(number));
    // Neither at the very beginning nor at the very end.
    let enough = rng.usize(before / 4..before);
    wait_for(BEGIN_MAX, || cluster.standing(number).is_some_and(|server| held(&server) <= enough));
    if cluster.node(Place::Server(number)).ended().is_some() {
        return Ok(None);
    }
    cluster.node(Place::Server(number)).kill();
    let is_leaving = |server: ServerStatus| {
        server.standing == Standing::Leaving && (1..before).contains(&held(&server))
    };
    if !cluster.standing(number).is_some_and(is_leaving) {
        return Ok(None);
    }
    let is_back = rng.bool();
    if is_back {
        cluster.undecided.insert(number);
    }
    Ok(Some(is_back))
}

/// Begins a join, and kills who joins. Returns whether it was in time; else it is started again.
///
/// # Errors
/// If something is wrong with the cluster.
pub(crate) fn kill_joiner(
    cluster: &mut Cluster,
    number: u8,
    rng: &mut Rng,
) -> Result<bool, String> {
    if cluster.on_ring.contains(&number) {
        move_whole(cluster, Movement::Leave(number))?;
    }
    cluster.begin(Movement::Join(number));
    let enough = rng.usize(..FEW_COUNT);
    wait_for(BEGIN_MAX, || {
        let server = cluster.standing(number);
        server.is_some_and(|server| match held(&server) {
            held if held < FEW_COUNT => held >= enough && server.learner > 0,
            _ => true,
        })
    });
    cluster.node(Place::Server(number)).kill();
    let status = cluster.status().ok_or("the ECS does not answer")?;
    let id = cluster.standing(number).map(|server| server.id);
    let is_halfway =
        status.moves.iter().any(|movement| Some(movement.to) == id && movement.to_do > 0);
    if !is_halfway {
        cluster.node(Place::Server(number)).start();
    }
    Ok(is_halfway)
}

/// Returns the slots of which a server is a member.
fn held(server: &ServerStatus) -> usize {
    server.primary + server.backup
}

fn move_whole(cluster: &mut Cluster, movement: Movement) -> Result<(), String> {
    cluster.begin(movement);
    cluster.wait_until_whole()
}
