//! The command line: commands, arguments and flags.
//!
//! Owns the types that clap fills and the help texts; words with a grammar of their own are in `words`. It decides nothing:
//! what a command does is in `commands`, and `docs/cli.md` describes all of it. Commands of a later release are known here, so that they are refused by name.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::words::{Aims, Expectation};
use crate::config::{LogLevel, parse_duration, parse_size};
use crate::model::{MirrorId, Part, Pointer, SnapshotName, Tag};

/// Keep local mirrors of APT repositories, and move staging and production between snapshots
#[derive(Debug, Parser)]
#[command(name = "mirrorctl", version, max_term_width = 100)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/mirrorctl/mirror.toml"
    )]
    pub config: PathBuf,
    /// Least important events to log, over configuration and environment
    #[arg(short, long, global = true, value_name = "LEVEL", value_parser = log_level())]
    pub log_level: Option<LogLevel>,
    /// Say nothing but answers and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more about errors
    #[arg(long, global = true)]
    pub verbose_errors: bool,
    /// Print one JSON document, also on errors
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch what upstream has published, as a snapshot
    Sync(SyncArgs),
    /// Create, list, move between and delete snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Check the configuration, and upstreams
    #[command(subcommand)]
    Check(CheckCommand),
    /// Serve the mirrors as a read-only file system at the configured directory
    Mount(MountArgs),
    /// Take the file system away
    Unmount,
    /// Say what is mounted, what each pointer names, and how old upstream is
    Status,
    /// Delete files that nothing needs any more
    Gc(GcArgs),
    /// Check that everything stored is whole
    Verify(VerifyArgs),
    /// Take a mirror that is not configured any more out of the catalog
    Forget(ForgetArgs),
    /// Show everything with a small archive of its own, in a temporary directory
    Demo(DemoArgs),
    /// Print the version
    Version,
    /// Print a completion script
    Completion(CompletionArgs),
    /// Make the catalog anew, without upstream, when it is damaged or lost
    Repair(RepairArgs),
    /// Make a snapshot of a mirror tree that is on this machine, without downloading
    Import(ImportArgs),
    /// Take the snapshots of the earlier mirrorctl over
    Migrate(MigrateArgs),
}

/// `sync`
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Mirrors to sync [default: all]
    #[arg(value_name = "MIRROR")]
    pub mirrors: Vec<MirrorId>,
    /// Say how much would be fetched, and store nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Record a snapshot even if upstream is unchanged, and do not hold it if it shrank
    #[arg(long)]
    pub force: bool,
    /// Take a Release file that is older than the one before, this once
    #[arg(long)]
    pub accept_rollback: bool,
    /// Take a Release file with another Suite, Codename, Origin or Label than before, this once
    #[arg(long)]
    pub accept_release_info: bool,
    /// Take metadata without a good signature
    #[arg(long)]
    pub no_pgp_check: bool,
    /// Then stage, test, and promote what has passed
    #[arg(long, conflicts_with = "dry_run")]
    pub promote_if_tested: bool,
}

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The mirror that the tree is one of
    pub mirror: MirrorId,
    /// The archive's root: the directory that holds dists/
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Name of the snapshot [default: made of the date of the tree's Release file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<SnapshotName>,
    /// Copy files where blocks cannot be shared, instead of using them together with the tree
    #[arg(long)]
    pub copy: bool,
    /// Take a tree that is older than the last synced state, this once
    #[arg(long)]
    pub accept_rollback: bool,
    /// Take a tree whose Release file calls its archive differently than before, this once
    #[arg(long)]
    pub accept_release_info: bool,
    /// Take metadata without a good signature
    #[arg(long)]
    pub no_pgp_check: bool,
}

/// `migrate`
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Say what would be taken over, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Copy files where blocks cannot be shared, instead of using them together with the old snapshots
    #[arg(long)]
    pub copy: bool,
    /// Take metadata without a good signature
    #[arg(long)]
    pub no_pgp_check: bool,
}

/// `snapshot …`
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Give the last synced state of a mirror a name
    Create(CreateArgs),
    /// List snapshots, newest first
    List(ListArgs),
    /// Point staging at a snapshot, for all named mirrors at once
    Stage(StageArgs),
    /// Point production (current) or another environment at a snapshot, for all named mirrors at once
    Publish(PublishArgs),
    /// Point production (current) at what staging points at, for all named mirrors at once
    Promote(PromoteArgs),
    /// Point production (current) back at what it pointed at before, for all named mirrors at once
    Rollback(RollbackArgs),
    /// Take an environment out of the mount, for all named mirrors at once
    Unpublish(UnpublishArgs),
    /// Delete snapshots
    Delete(DeleteArgs),
    /// Delete the snapshots that the rules of retention do not keep
    Prune(PruneArgs),
    /// List the moves of the pointers, newest first
    History(HistoryArgs),
    /// Give tags to a snapshot, to find it by
    Tag(TagArgs),
    /// Put a note on a snapshot, or say what its note is
    Note(NoteArgs),
    /// Protect snapshots from pruning and from being deleted without --force
    Protect(ProtectArgs),
    /// Give a snapshot another name
    Rename(RenameArgs),
    /// Say what differs between two snapshots, such as what promoting would change
    Diff(DiffArgs),
    /// Say whether a snapshot is fit for production
    Test(TestArgs),
}

/// `snapshot test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Its mirror, or a group to test each
    pub mirror: MirrorId,
    /// The snapshot: its name, or a pointer such as current [default: staging]
    #[arg(value_name = "NAME")]
    pub snapshot: Option<String>,
    /// Read every file and hash it again
    #[arg(long)]
    pub deep: bool,
    /// Look at the mirror's companions as they are staged, not as they are in production
    #[arg(long)]
    pub staged_companions: bool,
    /// Show what the last test of the snapshot has found, and test nothing
    #[arg(long, conflicts_with_all = ["deep", "staged_companions"])]
    pub show: bool,
}

/// `snapshot diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The mirror, or a group to look at each
    pub mirror: MirrorId,
    /// Where to start: a snapshot, staging, current or another environment [default: current]
    #[arg(value_name = "A")]
    pub first: Option<String>,
    /// Where it leads, likewise [default: staging; when one is named only, from current to that]
    #[arg(value_name = "B")]
    pub second: Option<String>,
    /// List files too
    #[arg(long)]
    pub files: bool,
    /// Shorten no list
    #[arg(long)]
    pub all: bool,
}

/// `snapshot create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its mirror
    pub mirror: MirrorId,
    /// Its name [default: made of the time]
    pub name: Option<SnapshotName>,
    /// Replace a snapshot of that name, unless a pointer names it, it lends files to one, or it is protected
    #[arg(long)]
    pub force: bool,
    /// Point staging at it
    #[arg(long)]
    pub stage: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), requires = "stage")]
    pub message: Option<String>,
}

/// `snapshot list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Mirrors to list [default: all]
    #[arg(value_name = "MIRROR")]
    pub mirrors: Vec<MirrorId>,
    /// Say more about each
    #[arg(long)]
    pub detailed: bool,
    /// List only those that have this tag; given several times, all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<Tag>,
}

/// What every command takes that moves pointers.
#[derive(Debug, Clone, Args)]
pub struct MoveArgs {
    /// Move there even if a rule is against it: the snapshot is held, or has not passed the checks it must pass
    #[arg(long)]
    pub force: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub message: Option<String>,
    /// Move only what points at this snapshot now, or nowhere (-); with several mirrors, MIRROR=NAME for each
    #[arg(long, value_name = "[MIRROR=]NAME")]
    pub expect: Vec<Expectation>,
}

/// `snapshot stage`
#[derive(Debug, Args)]
#[command(override_usage = "mirrorctl snapshot stage [OPTIONS] <MIRROR> <NAME>\n       \
                            mirrorctl snapshot stage [OPTIONS] <MIRROR>=<NAME>...")]
pub struct StageArgs {
    /// The mirrors and snapshots
    #[command(flatten)]
    pub aims: Aims,
    /// How to move.
    #[command(flatten)]
    pub moving: MoveArgs,
}

/// `snapshot publish`
#[derive(Debug, Args)]
#[command(override_usage = "mirrorctl snapshot publish [OPTIONS] <MIRROR> <NAME>\n       \
                            mirrorctl snapshot publish [OPTIONS] <MIRROR>=<NAME>...")]
pub struct PublishArgs {
    /// The mirrors and snapshots
    #[command(flatten)]
    pub aims: Aims,
    /// The environment to point there
    #[arg(long, value_name = "ENVIRONMENT", default_value = "current")]
    pub to: Pointer,
    /// How to move.
    #[command(flatten)]
    pub moving: MoveArgs,
}

/// `snapshot promote`
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Mirrors or groups to promote, all in one step
    #[arg(value_name = "MIRROR", required = true)]
    pub mirrors: Vec<MirrorId>,
    /// The environment whose snapshot it is
    #[arg(long, value_name = "ENVIRONMENT", default_value = "staging")]
    pub from: Pointer,
    /// The environment to point there
    #[arg(long, value_name = "ENVIRONMENT", default_value = "current")]
    pub to: Pointer,
    /// How to move.
    #[command(flatten)]
    pub moving: MoveArgs,
}

/// `snapshot rollback`
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Mirrors or groups to roll back, all in one step
    #[arg(value_name = "MIRROR", required = true)]
    pub mirrors: Vec<MirrorId>,
    /// The snapshot to go back to, of this name in each mirror [default: what was published before]
    #[arg(long, value_name = "NAME")]
    pub to: Option<SnapshotName>,
    /// The environment to roll back
    #[arg(long, value_name = "ENVIRONMENT", default_value = "current")]
    pub of: Pointer,
    /// Take out the files of all that was published after that snapshot, instead of keeping them reachable for a while
    #[arg(long)]
    pub retract: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to move.
    #[command(flatten)]
    pub moving: MoveArgs,
}

/// `snapshot unpublish`
#[derive(Debug, Args)]
pub struct UnpublishArgs {
    /// Mirrors or groups of which to take it out, all in one step
    #[arg(value_name = "MIRROR", required = true)]
    pub mirrors: Vec<MirrorId>,
    /// The environment, which is neither staging nor current
    #[arg(long, value_name = "ENVIRONMENT")]
    pub of: Pointer,
    /// Take it out even if it is configured still
    #[arg(long)]
    pub force: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub message: Option<String>,
    /// Take out only what points at this snapshot now; with several mirrors, MIRROR=NAME for each
    #[arg(long, value_name = "[MIRROR=]NAME")]
    pub expect: Vec<Expectation>,
}

/// `snapshot delete`
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Their mirror
    pub mirror: MirrorId,
    /// The snapshots
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<SnapshotName>,
    /// Delete those too that are protected or lend files to a pointer; never what a pointer names
    #[arg(long)]
    pub force: bool,
}

/// `snapshot prune`
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Mirrors to prune [default: all]
    #[arg(value_name = "MIRROR")]
    pub mirrors: Vec<MirrorId>,
    /// Keep so many of the newest [default: as configured]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub keep_last: Option<usize>,
    /// Keep those younger than this, such as 30d [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub keep_within: Option<Duration>,
    /// Keep the newest of each of the last so many days that have one [default: as configured]
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<usize>,
    /// Keep the newest of each of the last so many weeks that have one [default: as configured]
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<usize>,
    /// Keep the newest of each of the last so many months that have one [default: as configured]
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<usize>,
    /// Say what would be deleted and what that would free, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `snapshot tag`
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Its mirror
    pub mirror: MirrorId,
    /// The snapshot
    pub name: SnapshotName,
    /// The tags
    #[arg(value_name = "TAG", required = true)]
    pub tags: Vec<Tag>,
    /// Take these tags away
    #[arg(long)]
    pub remove: bool,
}

/// `snapshot note`
#[derive(Debug, Args)]
pub struct NoteArgs {
    /// Its mirror
    pub mirror: MirrorId,
    /// The snapshot
    pub name: SnapshotName,
    /// The note, in place of the one before; an empty text takes that away
    pub text: Option<String>,
    /// Take the note away
    #[arg(long, conflicts_with = "text")]
    pub remove: bool,
}

/// `snapshot protect`
#[derive(Debug, Args)]
pub struct ProtectArgs {
    /// Their mirror
    pub mirror: MirrorId,
    /// The snapshots
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<SnapshotName>,
    /// End their protection
    #[arg(long)]
    pub remove: bool,
}

/// `snapshot rename`
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// Its mirror
    pub mirror: MirrorId,
    /// The snapshot
    pub name: SnapshotName,
    /// Its new name
    pub new: SnapshotName,
}

/// `snapshot history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Mirrors to list [default: all]
    #[arg(value_name = "MIRROR")]
    pub mirrors: Vec<MirrorId>,
    /// List so many of the newest only
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
}

/// `check …`
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Say whether the configuration is good, and what was understood
    Config,
    /// Say how a mirror's upstream secures its connections, and whether a sync would trust it
    Tls(CheckTlsArgs),
}

/// `check tls`
#[derive(Debug, Args)]
pub struct CheckTlsArgs {
    /// The mirror, or a group to look at each
    pub mirror: MirrorId,
}

/// `mount`
#[derive(Debug, Args)]
pub struct MountArgs {
    /// Return as soon as the file system is there, and serve it in the background
    #[arg(long)]
    pub background: bool,
    /// What `--background` starts: serve without a terminal
    #[arg(long, hide = true, conflicts_with = "background")]
    pub detached: bool,
    /// What mount(8) asks for: this mount point, which must be the configured one; served already will do
    #[arg(long, hide = true, value_name = "DIR", requires = "background")]
    pub for_fstab: Option<PathBuf>,
    /// Let the running mount be served by a new process, of the program as it is installed now; who uses it notices nothing
    #[arg(long, conflicts_with_all = ["background", "detached"])]
    pub upgrade: bool,
    /// What a mount starts to be served
    #[arg(long, hide = true, conflicts_with_all = ["background", "detached", "upgrade"])]
    pub serve: bool,
    /// What a mount becomes when it is upgraded: where it left what it holds
    #[arg(long, hide = true, value_name = "NUMBER", conflicts_with_all = ["background", "detached", "upgrade", "serve"])]
    pub held: Option<i32>,
    /// What a mount asks the program that it would become: whether it understands this version
    #[arg(long, hide = true, value_name = "VERSION", conflicts_with_all = ["background", "detached", "upgrade", "serve", "held"])]
    pub holds: Option<u32>,
    /// What SELinux shall take the mount for, as an option of mount(8): `context=LABEL`
    #[arg(long, hide = true, value_name = "OPTION")]
    pub label: Vec<String>,
}

/// `gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for the time of grace
    #[arg(long)]
    pub now: bool,
    /// Delete them even if that is more than half of the cache
    #[arg(long)]
    pub force: bool,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Mirrors or groups whose files to check [default: the whole cache]
    #[arg(value_name = "MIRROR")]
    pub mirrors: Vec<MirrorId>,
    /// Read every file and hash it again; a run that was interrupted is gone on with
    #[arg(long)]
    pub deep: bool,
    /// Check the Nth of T parts of the cache only, such as 3/30
    #[arg(long, value_name = "N/T")]
    pub part: Option<Part>,
    /// Read at most so much in a second, such as 20MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "deep")]
    pub max_rate: Option<u64>,
    /// Fetch what is damaged again, from any mirror that has it
    #[arg(long)]
    pub repair: bool,
}

/// `repair`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["rebuild", "restore"]))]
pub struct RepairArgs {
    /// Make the catalog from the ledger beside it and the manifests in the cache
    #[arg(long)]
    pub rebuild: bool,
    /// Put a copy of the catalog back, such as one of those in backups/ of the state directory
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,
    /// Make it anew even if nothing is wrong with it
    #[arg(long, requires = "rebuild")]
    pub force: bool,
    /// Read every file in the cache and hash it again
    #[arg(long)]
    pub deep: bool,
    /// Say what would be restored, and change nothing
    #[arg(long, conflicts_with = "restore")]
    pub dry_run: bool,
}

/// `forget`
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The mirror
    pub mirror: MirrorId,
    /// Forget it even if production or another environment shows it, or snapshots are protected
    #[arg(long)]
    pub force: bool,
    /// Say what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave everything running, and say where it is
    #[arg(long)]
    pub keep: bool,
}

/// `completion`
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
}

fn log_level() -> impl clap::builder::TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(LogLevel::ALL.iter().map(|level| level.name()))
        .map(|word| word.parse().expect("one of the possible values"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "must be a number of at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Command {
        let words = std::iter::once("mirrorctl").chain(line.split_whitespace());
        Arguments::try_parse_from(words)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .command
    }

    fn refused(line: &str) -> String {
        let words = std::iter::once("mirrorctl").chain(line.split_whitespace());
        Arguments::try_parse_from(words).expect_err(line).to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_is_understood() {
        for line in [
            "sync",
            "sync a b --dry-run --force --no-pgp-check",
            "snapshot create a",
            "snapshot create a name --force --stage",
            "snapshot list",
            "snapshot list a b --detailed",
            "snapshot stage a 2025-10-14T15-45-30Z",
            "snapshot publish a name",
            "snapshot stage a=one b=two --message why --expect a=zero --expect b=zero",
            "snapshot publish a name --to qa --force -m why --expect zero",
            "snapshot promote a b c",
            "snapshot promote a --from qa --to staging --expect one -m why --force",
            "snapshot create a name --stage -m why",
            "snapshot unpublish a b --of qa --expect a=two --force -m why",
            "snapshot delete a one two --force",
            "snapshot prune",
            "snapshot prune a --keep-last 3 --keep-within 2w --dry-run",
            "snapshot prune --keep-daily 7 --keep-weekly 0 --keep-monthly 12",
            "snapshot history a",
            "snapshot list --tag x a --tag y",
            "snapshot tag a one x y --remove",
            "snapshot note a one",
            "snapshot note a one text",
            "snapshot note a one --remove",
            "snapshot protect a one two --remove",
            "snapshot rename a one two",
            "check config",
            "check tls a",
            "version",
            "completion bash",
            "mount",
            "mount --background",
            "mount --upgrade",
            "unmount",
            "status",
            "gc --dry-run --now",
            "forget a --force --dry-run",
            "demo --keep",
            "verify",
            "verify a b --deep --part 1/30 --max-rate 20MiB --repair",
            "repair --rebuild",
            "repair --rebuild --dry-run --force --deep",
            "repair --restore /x/catalog.db --deep",
            "import debian /srv --name x --copy --accept-rollback --accept-release-info --no-pgp-check",
            "migrate --dry-run --copy --no-pgp-check",
            "snapshot diff a",
            "snapshot diff a b c --files --all",
            "snapshot rollback a",
            "snapshot rollback a b --to one --of qa --retract --dry-run --expect a=two -m why --force",
            "snapshot history a --limit 3",
            "snapshot test a",
            "snapshot test a staging --deep --staged-companions",
            "sync --promote-if-tested",
            "-c /x -l debug -q --verbose-errors --json status",
            "status --config /x --log-level error --quiet --verbose-errors --json",
        ] {
            parsed(line);
        }
    }

    #[test]
    fn values_reach_their_place() {
        let Command::Snapshot(SnapshotCommand::Prune(prune)) =
            parsed("snapshot prune a --keep-last 3 --keep-within 2w")
        else {
            panic!("not prune");
        };
        assert_eq!(prune.mirrors, ["a".parse().expect("valid")]);
        assert_eq!(
            (prune.keep_last, prune.keep_within),
            (Some(3), Some(Duration::from_hours(336)))
        );
        let words = ["mirrorctl", "status", "-l", "warn"];
        let flags = Arguments::try_parse_from(words).expect("valid").global;
        assert_eq!(flags.log_level, Some(LogLevel::Warn));
        assert_eq!(flags.config, PathBuf::from("/etc/mirrorctl/mirror.toml"));
    }

    #[test]
    fn bad_values_are_refused_with_their_rule() {
        for (line, rule) in [
            ("sync ../x", "a mirror id starts with"),
            ("sync current", "the served tree uses itself"),
            ("snapshot stage a a/b", "a snapshot name starts with"),
            ("snapshot stage a .", "a snapshot name starts with"),
            ("snapshot prune --keep-last 0", "at least 1"),
            ("snapshot prune --keep-within 30", "needs a unit"),
            ("snapshot stage a", "not provided: <NAME>"),
            ("snapshot publish a one b", "MIRROR=NAME"),
            ("snapshot publish a one --to snapshots", "the served tree uses itself"),
            ("snapshot prune --keep-daily -1", "unexpected argument"),
            ("snapshot prune --keep-weekly=-1", "invalid digit"),
            ("verify --part 0/3", "must be a part such as 3/30"),
            ("verify --part 3", "must be a part such as 3/30"),
            ("verify --deep --max-rate fast", "must be a size"),
            ("verify --max-rate 1MiB", "--deep"),
            ("snapshot tag a b", "required"),
            ("snapshot tag a b -- -c", "a tag starts with"),
            ("snapshot note a b c --remove", "cannot be used with"),
            ("snapshot rename a b snapshots", "the served tree uses itself"),
            ("snapshot promote", "required"),
            ("repair", "required"),
            ("repair --rebuild --restore /x", "cannot be used with"),
            ("repair --restore /x --dry-run", "cannot be used with"),
            ("snapshot promote a --expect a=b=c", "a snapshot name starts with"),
            ("snapshot promote a --from QA", "an environment starts with"),
            ("snapshot create a b -m why", "--stage"),
            ("snapshot rollback", "required"),
            ("snapshot history --limit 0", "at least 1"),
            ("snapshot unpublish a", "required"),
            ("snapshot delete a", "required"),
            ("status -l trace", "[possible values: debug, info, warn, error]"),
            ("completion tcsh", "possible values"),
            ("synch", "similar subcommand"),
            ("sync --forec", "--force"),
        ] {
            let text = refused(line);
            assert!(text.contains(rule), "{line}: {text}");
        }
    }
}
