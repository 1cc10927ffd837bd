//! The program `musicfs`.
//!
//! Everything is in the library, so that tests can start a daemon in their own process; what is left here is handing
//! over to the command line.

/// Hands over to the command line, which decides about the exit code.
fn main() -> std::process::ExitCode {
    musicfs::cli::main()
}
