//! The program `mirrorctl`: hands its arguments to [`mirrorctl::cli`] and exits with what comes back.

fn main() -> std::process::ExitCode {
    mirrorctl::cli::run(std::env::args_os())
}
