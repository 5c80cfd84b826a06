//! Which snapshots a prune forgets: a pure function of the snapshots, the policy and the time of day.
//!
//! Owns the rule and its reasons in words that can be printed. It must never read the catalog, ask a clock or delete
//! anything; `--dry-run` and the real thing are the same [`plan`].
//!
//! A snapshot is kept when it is among the newest `keep_last`, or younger than `keep_within`, or the newest of one of
//! the last days, weeks or months of which some are kept, or something holds it: a pointer, a pointer that
//! lends files of it, or protection by the operator. "Newest" and "last" are a matter of sequence, never of clocks.
//!
//! To which day, week and month a snapshot belongs is told by the time at which it was recorded, not by what time it is
//! now: so a clock that is wrong now deletes nothing that the calendar keeps, and one that was wrong then costs one
//! place, until as many other days have come.

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroUsize;

use crate::model::{SnapshotName, Timestamp};

/// How much history to keep. That at least one snapshot is kept is in the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePolicy {
    /// How many of the newest snapshots are kept whatever their age.
    pub keep_last: NonZeroUsize,
    /// Age in seconds below which every snapshot is kept; `None` when age does not count.
    pub keep_within: Option<u64>,
    /// Of how many of the last days with snapshots the newest is kept.
    pub keep_daily: usize,
    /// Of how many of the last weeks with snapshots the newest is kept.
    pub keep_weekly: usize,
    /// Of how many of the last months with snapshots the newest is kept.
    pub keep_monthly: usize,
}

/// What the policy looks at in one snapshot of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: SnapshotName,
    /// Its place in the order in which the mirror's snapshots were recorded. No two have the same, although two can
    /// name the same listing.
    pub seq: i64,
    /// When it was recorded, by the clock of that time.
    pub created: Timestamp,
    /// Whether `staging` leads to it.
    pub staged: bool,
    /// Whether `current` leads to it.
    pub current: bool,
    /// Whether the pointer of a further environment leads to it.
    pub elsewhere: bool,
    /// Whether a pointer lends files of it: it is an earlier publication within the grace overlay.
    pub lent: bool,
    /// Whether the operator protected it.
    pub protected: bool,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepReason {
    /// `current` leads to it.
    Current,
    /// `staging` leads to it.
    Staged,
    /// The pointer of a further environment leads to it.
    Elsewhere,
    /// A pointer lends files of it.
    Lent,
    /// The operator protected it.
    Protected,
    /// It is among the newest `keep_last`.
    Newest,
    /// It is younger than `keep_within`.
    Young,
    /// It is the newest of one of the last days.
    Daily,
    /// It is the newest of one of the last weeks.
    Weekly,
    /// It is the newest of one of the last months.
    Monthly,
    /// Its age cannot be told, because the clock is behind ([`Refusal::ClockBehind`]).
    AgeUnknown,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Current => "current",
            Self::Staged => "staged",
            Self::Elsewhere => "in another environment",
            Self::Lent => "within the grace overlay",
            Self::Protected => "protected",
            Self::Newest => "among the newest",
            Self::Young => "young",
            Self::Daily => "the newest of its day",
            Self::Weekly => "the newest of its week",
            Self::Monthly => "the newest of its month",
            Self::AgeUnknown => "age unknown",
        })
    }
}

/// What the calendar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// Days of UTC.
    Day,
    /// Weeks from Monday to Sunday.
    Week,
    /// Months.
    Month,
}

impl Period {
    /// The number of the period to which `time` belongs.
    fn of(self, time: Timestamp) -> i64 {
        match self {
            Self::Day => time.day(),
            Self::Week => time.week(),
            Self::Month => time.month(),
        }
    }

    const fn kept(self) -> KeepReason {
        match self {
            Self::Day => KeepReason::Daily,
            Self::Week => KeepReason::Weekly,
            Self::Month => KeepReason::Monthly,
        }
    }

    /// The word for one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// Why a rule does not keep a snapshot that nothing holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// So many are newer, and are all that is kept.
    NotNewest(usize),
    /// It is so old in seconds, or older, and only younger ones are kept.
    Old(u64),
    /// A newer one stands for its day, week or month.
    NewerOf(Period),
    /// So many later days, weeks or months have one that is kept, and no more are.
    BeforeTheLast(usize, Period),
}

/// What happens to one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stays, for these reasons: at least one, sorted.
    Keep(Vec<KeepReason>),
    /// It is forgotten, because nothing holds it and each rule that is set passes it over for the reason here, sorted.
    Delete(Vec<DropReason>),
}

impl Decision {
    /// Whether the snapshot is forgotten.
    #[must_use]
    pub const fn is_delete(&self) -> bool {
        match self {
            Self::Delete(_) => true,
            Self::Keep(_) => false,
        }
    }
}

/// The decision on one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which snapshot.
    pub name: SnapshotName,
    /// Its place in the order of recording.
    pub seq: i64,
    /// What happens to it.
    pub decision: Decision,
}

/// Why a plan deletes nothing although the policy might.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The newest snapshot is of a later time than now: the clock was set back, or was ahead, and ages mean nothing.
    #[error("the newest snapshot is {} s in the future: the clock was changed, so ages are unknown", newest.unix().saturating_sub(now.unix()))]
    ClockBehind {
        /// The time of day.
        now: Timestamp,
        /// When the newest snapshot was recorded.
        newest: Timestamp,
    },
}

/// What a prune does to every snapshot of a mirror, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// One verdict for each snapshot.
    pub verdicts: Vec<Verdict>,
    /// Set when ages would have counted and could not be told; then nothing is deleted.
    pub refusal: Option<Refusal>,
}

impl PrunePlan {
    /// The snapshots to forget, newest first.
    pub fn deleted(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.decision.is_delete())
    }
}

/// Applies `policy` to all `snapshots` of one mirror, given in any order, at the time `now`.
#[must_use]
pub fn plan(snapshots: &[Candidate], policy: &PrunePolicy, now: Timestamp) -> PrunePlan {
    let mut newest_first: Vec<&Candidate> = snapshots.iter().collect();
    newest_first.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.seq));
    let refusal = refusal(newest_first.first().copied(), policy, now);
    let mut calendars = Calendars::of(policy);
    let verdicts = newest_first
        .into_iter()
        .enumerate()
        .map(|(rank, snapshot)| {
            let mut reasons = reasons(snapshot, rank, policy, now);
            let mut against = passed_over(policy);
            for standing in calendars.judge(snapshot.created) {
                match standing {
                    Ok(kept) => reasons.push(kept),
                    Err(passed_over) => against.push(passed_over),
                }
            }
            if reasons.is_empty() && refusal.is_some() {
                reasons.push(KeepReason::AgeUnknown);
            }
            Verdict {
                name: snapshot.name.clone(),
                seq: snapshot.seq,
                decision: if reasons.is_empty() {
                    Decision::Delete(against)
                } else {
                    Decision::Keep(reasons)
                },
            }
        })
        .collect();
    PrunePlan { verdicts, refusal }
}

/// The newest by sequence is the judge: a snapshot recorded while the clock was ahead stops pruning only until the
/// next one is recorded by a right clock, not until its own time has come.
fn refusal(newest: Option<&Candidate>, policy: &PrunePolicy, now: Timestamp) -> Option<Refusal> {
    let newest = newest?.created;
    (policy.keep_within.is_some() && now < newest).then_some(Refusal::ClockBehind { now, newest })
}

/// Everything but the calendar that keeps the snapshot at place `rank` from the newest, sorted.
fn reasons(snapshot: &Candidate, rank: usize, policy: &PrunePolicy, now: Timestamp) -> Vec<KeepReason> {
    [
        (snapshot.current, KeepReason::Current),
        (snapshot.staged, KeepReason::Staged),
        (snapshot.elsewhere, KeepReason::Elsewhere),
        (snapshot.lent, KeepReason::Lent),
        (snapshot.protected, KeepReason::Protected),
        (rank < policy.keep_last.get(), KeepReason::Newest),
        (is_young(snapshot.created, policy, now), KeepReason::Young),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect()
}

/// What `policy` has against a snapshot that is neither new nor young, but for the calendar.
fn passed_over(policy: &PrunePolicy) -> Vec<DropReason> {
    let rank = DropReason::NotNewest(policy.keep_last.get());
    let within = policy.keep_within.filter(|within| *within > 0);
    std::iter::once(rank).chain(within.map(DropReason::Old)).collect()
}

/// One calendar's rule, while the snapshots pass by, the newest first.
struct Calendar {
    period: Period,
    /// Of how many periods the newest is kept.
    keep: usize,
    /// The periods whose newest has passed by and was kept.
    seen: HashSet<i64>,
}

impl Calendar {
    /// Why this snapshot is kept, or why not; `None` where the calendar keeps nothing at all.
    fn judge(&mut self, created: Timestamp) -> Option<Result<KeepReason, DropReason>> {
        if self.keep == 0 {
            return None;
        }
        let period = self.period.of(created);
        Some(if self.seen.contains(&period) {
            Err(DropReason::NewerOf(self.period))
        } else if self.seen.len() < self.keep {
            self.seen.insert(period);
            Ok(self.period.kept())
        } else {
            Err(DropReason::BeforeTheLast(self.keep, self.period))
        })
    }
}

/// The rules of the calendar. Each counts by itself: what one keeps has no effect on the others.
struct Calendars([Calendar; 3]);

impl Calendars {
    fn of(policy: &PrunePolicy) -> Self {
        let begin = |period, keep| Calendar {
            period,
            keep,
            seen: HashSet::new(),
        };
        Self([
            begin(Period::Day, policy.keep_daily),
            begin(Period::Week, policy.keep_weekly),
            begin(Period::Month, policy.keep_monthly),
        ])
    }

    /// Why the next snapshot is kept or not, by each rule that is set, sorted.
    fn judge(&mut self, created: Timestamp) -> impl Iterator<Item = Result<KeepReason, DropReason>> {
        self.0.iter_mut().filter_map(move |calendar| calendar.judge(created))
    }
}

/// Whether the age counts and is below the limit. A time in the future counts as young: to keep too much is safe.
fn is_young(created: Timestamp, policy: &PrunePolicy, now: Timestamp) -> bool {
    // An age that is negative, and so has no unsigned form, is below every limit.
    let age = u64::try_from(now.unix().saturating_sub(created.unix())).ok();
    policy
        .keep_within
        .is_some_and(|limit| age.is_none_or(|age| age < limit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;
    const NOW: Timestamp = Timestamp::from_unix(1_700_000_000);

    fn policy(keep_last: usize, days: Option<u64>) -> PrunePolicy {
        PrunePolicy {
            keep_last: NonZeroUsize::new(keep_last).expect("not zero"),
            keep_within: days.map(|days| days * 86_400),
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
        }
    }

    /// The newest alone, and these many days, weeks and months.
    fn calendar([keep_daily, keep_weekly, keep_monthly]: [usize; 3]) -> PrunePolicy {
        PrunePolicy {
            keep_daily,
            keep_weekly,
            keep_monthly,
            ..policy(1, None)
        }
    }

    /// A snapshot that nothing holds.
    fn snapshot(seq: i64, created: Timestamp) -> Candidate {
        Candidate {
            name: format!("s{seq}").parse().expect("valid name"),
            seq,
            created,
            staged: false,
            current: false,
            elsewhere: false,
            lent: false,
            protected: false,
        }
    }

    /// Snapshots 1, 2, … with these ages in days.
    fn aged(days: &[i64]) -> Vec<Candidate> {
        (1..)
            .zip(days)
            .map(|(seq, days)| snapshot(seq, NOW.plus(-days * DAY)))
            .collect()
    }

    fn deleted(plan: &PrunePlan) -> Vec<i64> {
        plan.deleted().map(|verdict| verdict.seq).collect()
    }

    #[test]
    fn the_newest_and_the_young_stay() {
        let week = aged(&[40, 31, 30, 29, 2, 1, 0]);
        for (keep_last, days, expected) in [
            (1, None, &[6, 5, 4, 3, 2, 1][..]),
            (5, None, &[2, 1]),
            (7, None, &[]),
            (8, None, &[]),
            (usize::MAX, None, &[]),
            // Thirty days are not less than thirty days.
            (1, Some(30), &[3, 2, 1]),
            (5, Some(30), &[2, 1]),
            (6, Some(1), &[1]),
            (1, Some(0), &[6, 5, 4, 3, 2, 1]),
            (1, Some(100_000), &[]),
        ] {
            let plan = plan(&week, &policy(keep_last, days), NOW);
            assert_eq!(deleted(&plan), expected, "{keep_last} {days:?}");
            assert_eq!(plan.refusal, None);
        }
    }

    #[test]
    fn few_snapshots_are_never_deleted() {
        // However old, whatever the rest of the policy says.
        for count in 0..=5 {
            let plan = plan(&aged(&vec![9_999; count]), &policy(5, Some(1)), NOW);
            assert_eq!(deleted(&plan), [0_i64; 0], "{count}");
        }
    }

    #[test]
    fn whatever_holds_a_snapshot_is_named() {
        let mut snapshots = aged(&[50, 49, 48, 47, 46, 45, 0]);
        snapshots[0].current = true;
        snapshots[1].staged = true;
        snapshots[2].protected = true;
        snapshots[4].elsewhere = true;
        snapshots[5].lent = true;
        snapshots[6].current = true;
        let plan = plan(&snapshots, &policy(1, Some(30)), NOW);
        let decisions: Vec<_> = plan.verdicts.iter().map(|verdict| &verdict.decision).collect();
        assert_eq!(
            decisions,
            [
                &Decision::Keep(vec![KeepReason::Current, KeepReason::Newest, KeepReason::Young]),
                &Decision::Keep(vec![KeepReason::Lent]),
                &Decision::Keep(vec![KeepReason::Elsewhere]),
                &Decision::Delete(vec![DropReason::NotNewest(1), DropReason::Old(30 * 86_400)]),
                &Decision::Keep(vec![KeepReason::Protected]),
                &Decision::Keep(vec![KeepReason::Staged]),
                &Decision::Keep(vec![KeepReason::Current]),
            ]
        );
    }

    /// Snapshots 1, 2, … recorded at these times.
    fn recorded(times: &[&str]) -> Vec<Candidate> {
        let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_second();
        (1..)
            .zip(times)
            .map(|(seq, text)| snapshot(seq, Timestamp::from_unix(at(text))))
            .collect()
    }

    fn kept(plan: &PrunePlan) -> Vec<i64> {
        let kept = plan.verdicts.iter().filter(|one| !one.decision.is_delete());
        kept.map(|verdict| verdict.seq).collect()
    }

    #[test]
    fn what_goes_is_told_why_no_rule_keeps_it() {
        let snapshots = recorded(&[
            "2026-01-31T10:00:00Z",
            "2026-03-01T10:00:00Z",
            "2026-03-02T10:00:00Z",
            "2026-03-02T11:00:00Z",
        ]);
        let plan = plan(&snapshots, &calendar([1, 0, 1]), NOW);
        let against = |at: usize| match &plan.verdicts[at].decision {
            Decision::Delete(reasons) => reasons.clone(),
            Decision::Keep(reasons) => panic!("{reasons:?}"),
        };
        let rank = DropReason::NotNewest(1);
        let (newer, before) = (DropReason::NewerOf, DropReason::BeforeTheLast);
        assert_eq!(against(1), [rank, newer(Period::Day), newer(Period::Month)]);
        assert_eq!(against(2), [rank, before(1, Period::Day), newer(Period::Month)]);
        assert_eq!(against(3), [rank, before(1, Period::Day), before(1, Period::Month)]);
    }

    #[test]
    fn the_newest_of_each_day_week_and_month_stays() {
        let snapshots = recorded(&[
            "2026-01-31T23:59:59Z",
            "2026-02-01T00:00:00Z", // a Sunday: the week of the one before, another month
            "2026-02-02T00:00:00Z",
            "2026-02-27T12:00:00Z",
            "2026-03-01T00:00:00Z", // a Sunday
            "2026-03-01T23:59:59Z",
            "2026-03-02T00:00:00Z",
            "2026-03-02T08:00:00Z",
        ]);
        for (rule, expected) in [
            ([0, 0, 0], &[8][..]),
            ([1, 0, 0], &[8]),
            // Days without a snapshot are not counted.
            ([4, 0, 0], &[8, 6, 4, 3]),
            ([99, 0, 0], &[8, 6, 4, 3, 2, 1]),
            ([0, 2, 0], &[8, 6]),
            ([0, 4, 0], &[8, 6, 3, 2]),
            ([0, 0, 2], &[8, 4]),
            ([0, 0, 3], &[8, 4, 1]),
            // Each rule counts by itself.
            ([2, 2, 2], &[8, 6, 4]),
            ([usize::MAX; 3], &[8, 6, 4, 3, 2, 1]),
        ] {
            assert_eq!(kept(&plan(&snapshots, &calendar(rule), NOW)), expected, "{rule:?}");
        }
        let decision = plan(&snapshots, &calendar([2, 2, 2]), NOW)
            .verdicts
            .swap_remove(0)
            .decision;
        assert_eq!(
            decision,
            Decision::Keep(vec![
                KeepReason::Newest,
                KeepReason::Daily,
                KeepReason::Weekly,
                KeepReason::Monthly
            ])
        );
    }

    #[test]
    fn the_calendar_does_not_ask_what_time_it_is() {
        let snapshots = aged(&[3, 2, 1, 0]);
        for now in [i64::MIN, 0, NOW.unix(), i64::MAX] {
            let plan = plan(&snapshots, &calendar([2, 0, 0]), Timestamp::from_unix(now));
            assert_eq!((kept(&plan), plan.refusal), (vec![4, 3], None), "{now}");
        }
    }

    #[test]
    fn a_clock_that_jumped_costs_one_place_until_other_days_have_come() {
        // The third was recorded ten years ahead, the fifth on the day of the second.
        let mut snapshots = aged(&[4, 3, -3_650, 2, 3]);
        let daily = |snapshots: &[Candidate]| kept(&plan(snapshots, &calendar([3, 0, 0]), NOW));
        assert_eq!(daily(&snapshots), [5, 4, 3]);
        snapshots.extend([snapshot(6, NOW.plus(-DAY)), snapshot(7, NOW)]);
        assert_eq!(daily(&snapshots), [7, 6, 5]);
    }

    #[test]
    fn newest_is_a_matter_of_sequence_not_of_clocks() {
        // The clock was ten years behind when the last two were recorded.
        let snapshots = aged(&[2, 1, 3_652, 3_651]);
        assert_eq!(deleted(&plan(&snapshots, &policy(2, None), NOW)), [2, 1]);
    }

    #[test]
    fn a_clock_that_is_behind_deletes_nothing_by_age() {
        let snapshots = aged(&[40, 35, 1, 0]);
        let earlier = NOW.plus(-1);
        let refused = plan(&snapshots, &policy(1, Some(30)), earlier);
        assert_eq!(
            refused.refusal,
            Some(Refusal::ClockBehind {
                now: earlier,
                newest: NOW
            })
        );
        assert_eq!(deleted(&refused), [0_i64; 0]);
        assert_eq!(
            refused.verdicts[3].decision,
            Decision::Keep(vec![KeepReason::AgeUnknown])
        );
        assert!(
            refused
                .refusal
                .expect("refused")
                .to_string()
                .contains("1 s in the future")
        );
        // By number alone the clock does not matter.
        assert_eq!(deleted(&plan(&snapshots, &policy(1, None), earlier)), [3, 2, 1]);
    }

    #[test]
    fn a_clock_that_was_ahead_stops_pruning_only_until_the_next_snapshot() {
        let mut snapshots = aged(&[40, -3_650]);
        assert!(plan(&snapshots, &policy(1, Some(30)), NOW).refusal.is_some());
        snapshots.push(snapshot(3, NOW));
        let plan = plan(&snapshots, &policy(1, Some(30)), NOW);
        assert_eq!((plan.refusal, deleted(&plan)), (None, vec![1]));
    }

    #[test]
    fn the_ends_of_time_do_no_harm() {
        let ends = [i64::MIN, i64::MAX].map(Timestamp::from_unix);
        for now in ends {
            let snapshots = [snapshot(1, ends[0]), snapshot(2, ends[1])];
            let all = PrunePolicy {
                keep_within: Some(u64::MAX),
                ..calendar([2, 2, 2])
            };
            assert_eq!(plan(&snapshots, &all, now).verdicts.len(), 2);
        }
    }

    /// The rule as one would say it, without sorting, ranks or early ends.
    fn is_deleted(all: &[Candidate], one: &Candidate, policy: &PrunePolicy, now: Timestamp) -> bool {
        let newer = all.iter().filter(|other| other.seq > one.seq).count();
        let held = one.staged || one.current || one.elsewhere || one.lent || one.protected;
        let by_age = match policy.keep_within {
            None => true,
            Some(limit) => {
                let newest = all
                    .iter()
                    .reduce(|a, b| if a.seq > b.seq { a } else { b })
                    .expect("there is one");
                let clock_is_right = newest.created.unix() <= now.unix();
                let age = i128::from(now.unix()) - i128::from(one.created.unix());
                clock_is_right && age >= i128::from(limit)
            }
        };
        let by_calendar = [
            (Timestamp::day as fn(_) -> _, policy.keep_daily),
            (Timestamp::week, policy.keep_weekly),
            (Timestamp::month, policy.keep_monthly),
        ]
        .iter()
        .any(|(period, count)| {
            let mut later = all.iter().filter(|other| other.seq > one.seq);
            let others: HashSet<i64> = later.clone().map(|other| period(other.created)).collect();
            later.all(|other| period(other.created) != period(one.created)) && others.len() < *count
        });
        newer >= policy.keep_last.get() && !held && by_age && !by_calendar
    }

    prop_compose! {
        fn any_candidate()(days in -5_i64..60, flags in proptest::array::uniform5(prop::bool::weighted(0.1)))
            -> Candidate
        {
            let [staged, current, elsewhere, lent, protected] = flags;
            Candidate { staged, current, elsewhere, lent, protected, ..snapshot(0, NOW.plus(-days * DAY)) }
        }
    }

    prop_compose! {
        /// In any order, with gaps in the sequence, and with clocks that jumped.
        fn any_snapshots()(
            mut candidates in prop::collection::vec(any_candidate(), 0..20),
            seqs in prop::collection::hash_set(-100_i64..100, 20),
        ) -> Vec<Candidate> {
            for (candidate, seq) in candidates.iter_mut().zip(seqs) {
                candidate.seq = seq;
            }
            candidates
        }
    }

    proptest! {
        #[test]
        fn the_plan_is_the_rule(
            snapshots in any_snapshots(),
            keep_last in 1_usize..8,
            days in prop::option::of(0_u64..50),
            periods in proptest::array::uniform3(0_usize..6),
        ) {
            let policy = PrunePolicy { keep_within: policy(1, days).keep_within, ..calendar(periods) };
            let policy = PrunePolicy { keep_last: NonZeroUsize::new(keep_last).expect("not zero"), ..policy };
            let plan = plan(&snapshots, &policy, NOW);
            prop_assert_eq!(plan.verdicts.len(), snapshots.len());
            prop_assert!(plan.verdicts.windows(2).all(|pair| pair[0].seq > pair[1].seq));
            for snapshot in &snapshots {
                let verdict = plan.verdicts.iter().find(|verdict| verdict.seq == snapshot.seq).expect("judged");
                let expected = is_deleted(&snapshots, snapshot, &policy, NOW);
                prop_assert_eq!(verdict.decision.is_delete(), expected);
                if let Decision::Keep(reasons) = &verdict.decision {
                    prop_assert!(!reasons.is_empty() && reasons.is_sorted(), "{:?}", reasons);
                }
            }
            prop_assert!(plan.refusal.is_none() || plan.deleted().next().is_none());
        }
    }
}
