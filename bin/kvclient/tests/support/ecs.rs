//! A coordinator in a thread that answers each line with what a test gave it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A coordinator that lives until the test process ends.
pub(crate) struct FakeEcs {
    pub(crate) address: String,
    answers: Arc<Mutex<Vec<(String, String)>>>,
}

impl FakeEcs {
    /// Starts a coordinator on a free port, which answers the first of each pair with the second.
    pub(crate) fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let fake = Self { address, answers: Arc::clone(&shared) };
        answers.iter().for_each(|(line, answer)| fake.set(line, answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    for line in lines.map_while(Result::ok) {
                        let answers = shared.lock().unwrap();
                        let found = answers.iter().find(|(asked, _)| *asked == line);
                        let answer = found.map_or("error unknown verb", |(_, answer)| answer);
                        if stream.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        fake
    }

    /// Changes an answer.
    pub(crate) fn set(&self, line: &str, answer: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(asked, _)| asked != line);
        answers.push((line.to_owned(), answer.to_owned()));
    }
}
