//! The program `musicfs`. Everything is in the library, so that tests can start it in their own process.

/// Hands over to the command line, which decides about the exit code.
fn main() -> std::process::ExitCode {
    musicfs::cli::main()
}
