//! Zipf-distributed ranks, as in YCSB's `zipfian` generator.
//!
//! Rank `r` (from 0) is drawn with a probability proportional to `1 / (r + 1)^θ`, θ = 0.99, by the method of
//! Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), which YCSB uses too: one
//! random number and one power per draw, whatever the number of keys.
//!
//! *Scrambled* spreads the popular ranks over the key space. YCSB hashes and lets ranks collide; here the
//! rank is multiplied by a prime modulo the number of keys, a bijection, so that the shape stays exact.

/// YCSB's skew.
const THETA: f64 = 0.99;

/// Terms of the sum that are added one by one; an integral stands for the rest (error < 10⁻⁹).
const EXACT_TERMS: u64 = 1_000_000;

/// A prime above every number of keys, so that it has no factor in common with it.
const SPREAD: u64 = 0x1FFF_FFFF_FFFF_FFFF;

/// Draws ranks from `0..count`.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
    /// Below this the rank is 1 (and below 1 it is 0).
    second: f64,
    /// Modulo `count`.
    spread: u64,
}

impl Zipf {
    /// Returns a generator over `count` ranks. Takes some 20 ms for a million.
    pub(crate) fn new(count: u32) -> Self {
        let count = u64::from(count);
        let zeta = zeta(count);
        let second = 1.0 + 0.5_f64.powf(THETA);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - second / zeta);
        // A small stride would leave the popular ranks side by side: at least the square root of count.
        let spread = match SPREAD % count {
            s if s * s < count => spread_coprime(count),
            s => s,
        };
        Self { count, zeta, alpha: 1.0 / (1.0 - THETA), eta, second, spread }
    }

    /// Returns a rank, 0 the most popular.
    pub(crate) fn rank(&self, rng: &mut fastrand::Rng) -> u64 {
        let u = rng.f64();
        let scaled = u * self.zeta;
        if scaled < 1.0 || self.count == 1 {
            return 0;
        }
        if scaled < self.second {
            return 1;
        }
        let share = (self.eta * u - self.eta + 1.0).powf(self.alpha);
        floor(self.count as f64 * share).min(self.count - 1)
    }

    /// Returns a rank's place in the key space.
    pub(crate) fn scramble(&self, rank: u64) -> u64 {
        rank * self.spread % self.count
    }
}

/// Returns a stride near the golden section of `count` that has no factor in common with it.
fn spread_coprime(count: u64) -> u64 {
    let from = (count / 1000 * 618 + count % 1000 * 618 / 1000).max(1);
    (from..).find(|&stride| gcd(stride, count) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Returns the sum of `1 / i^θ` for i from 1 to `count`.
fn zeta(count: u64) -> f64 {
    let exact: f64 = (1..=count.min(EXACT_TERMS)).map(|i| (i as f64).powf(-THETA)).sum();
    let integral = |x: f64| (x + 0.5).powf(1.0 - THETA) / (1.0 - THETA);
    let rest = integral(count as f64) - integral(count.min(EXACT_TERMS) as f64);
    exact + rest
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and the caller bounds what is drawn"
)]
fn floor(x: f64) -> u64 {
    x as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_ranks_are_drawn_as_often_as_the_formula_says() {
        let zipf = Zipf::new(1000);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut hits = vec![0_u32; 1000];
        let draws = 2_000_000;
        for _ in 0..draws {
            hits[usize::try_from(zipf.rank(&mut rng)).unwrap()] += 1;
        }
        // The method is exact for the first two ranks and near for the others.
        for (rank, tolerance) in
            [(0, 0.02), (1, 0.03), (2, 0.25), (9, 0.15), (99, 0.15), (500, 0.2)]
        {
            let expected = f64::from(draws) / zipf.zeta / f64::from(rank + 1).powf(THETA);
            let found = f64::from(hits[usize::try_from(rank).unwrap()]);
            let error = (found / expected - 1.0).abs();
            assert!(error < tolerance, "rank {rank}: {found} draws, expected {expected:.0}");
        }
    }

    #[test]
    fn every_rank_is_within_the_key_space_however_small() {
        for count in [1, 2, 3, 10] {
            let zipf = Zipf::new(count);
            let mut rng = fastrand::Rng::with_seed(u64::from(count));
            assert!((0..10_000).all(|_| zipf.rank(&mut rng) < u64::from(count)));
        }
    }

    #[test]
    fn scrambling_loses_no_key_and_parts_the_popular_ones() {
        for count in [1, 2, 10, 997, 1000, 65_536, 100_003] {
            let zipf = Zipf::new(count);
            let mut places: Vec<u64> = (0..u64::from(count)).map(|r| zipf.scramble(r)).collect();
            if count > 100 {
                assert!(places[0].abs_diff(places[1]) > 5, "{count}");
            }
            places.sort_unstable();
            assert!(places.into_iter().eq(0..u64::from(count)), "{count}");
        }
    }

    #[test]
    fn the_sum_over_many_keys_agrees_with_adding_one_by_one() {
        let exact: f64 = (1..=3_000_000_u32).map(|i| f64::from(i).powf(-THETA)).sum();
        assert!((zeta(3_000_000) - exact).abs() < 1e-6);
    }
}
