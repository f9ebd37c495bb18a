//! A running `tallow serve` on a free port.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use crate::harness::Home;

/// A running `tallow serve` on a free port; killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) greeting: serde_json::Value,
}

impl Server {
    /// Starts a worker and waits until it says where it listens.
    pub(crate) fn start(home: &Home, args: &[&str]) -> Self {
        let mut all = vec!["serve", "--json", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let mut child =
            home.command(all).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the greeting");
        match serde_json::from_str(&line) {
            Ok(greeting) => Self { child, stdout, greeting },
            Err(error) => {
                let output = child.wait_with_output().expect("the program ends");
                panic!("no greeting ({error}): {line}\n{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.greeting["url"].as_str().expect("a url")
    }

    pub(crate) fn token_path(&self) -> &Path {
        Path::new(self.greeting["token_file"].as_str().expect("a token file"))
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let mut stderr = self.child.stderr.take().expect("a pipe");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut text).expect("text");
        let status = self.child.wait().expect("the program ends");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest).expect("text");
        assert_eq!(rest, "", "nothing but the greeting goes to standard output");
        (status, text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
