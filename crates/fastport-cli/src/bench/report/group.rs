//! Which runs belong together.

use super::super::outcome::Outcome;

/// All runs of one workload on one backend, slowest first.
pub(super) struct Group<'a> {
    pub(super) runs: Vec<&'a Outcome>,
}

impl Group<'_> {
    pub(super) fn median(&self) -> &Outcome {
        self.runs[self.runs.len() / 2]
    }

    /// How far the runs lie apart, as a share of the median rate.
    pub(super) fn spread_percent(&self) -> f64 {
        let rate = |index: usize| self.runs[index].packets_per_second();
        let median = self.median().packets_per_second();
        if median == 0.0 { 0.0 } else { (rate(self.runs.len() - 1) - rate(0)) / median * 100.0 }
    }

    pub(super) fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.runs.iter().map(|run| of(run)).sum()
    }
}

/// The runs by workload and backend. Both come in the order in which they first ran.
pub(super) fn grouped(outcomes: &[Outcome]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for outcome in outcomes {
        let same = |group: &&mut Group<'_>| {
            group.runs[0].workload == outcome.workload && group.runs[0].backend == outcome.backend
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.runs.push(outcome),
            None => groups.push(Group { runs: vec![outcome] }),
        }
    }
    for group in &mut groups {
        group.runs.sort_by(|one, other| one.packets_per_second().total_cmp(&other.packets_per_second()));
    }
    // Backends of one workload belong side by side, whatever the order of the runs.
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.workload.name.as_str()) {
            names.push(&outcome.workload.name);
        }
    }
    groups.sort_by_key(|group| names.iter().position(|name| *name == group.runs[0].workload.name));
    groups
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::example;
    use super::*;
    use fastport_io::Backend;

    #[test]
    fn of_repeated_runs_the_median_stands_for_all_and_losses_add_up() {
        let outcomes = [98, 100, 60].map(|responses| example("again", Backend::Epoll, responses));
        let groups = grouped(&outcomes);
        assert_eq!(groups[0].median().measured.responses, 98);
        assert_eq!(groups[0].sum(Outcome::lost_requests), 2 + 40);
        assert!((groups[0].spread_percent() - 40.0 / 98.0 * 100.0).abs() < 1e-9);
    }
}
