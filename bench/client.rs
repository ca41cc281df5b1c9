//! A small client to prepare and to check with.

use crate::Failure;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection that waits for what it is owed.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one request of Redis, and gives its reply.
    pub fn call(&mut self, arguments: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        self.send(arguments)?;
        self.receive()
    }

    /// Sends one request of Redis.
    pub fn send(&mut self, arguments: &[&[u8]]) -> Result<(), Failure> {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        self.write(&bytes)
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.get_mut().write_all(bytes)?;
        Ok(())
    }

    /// One line, without its end.
    pub fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// The text of one status or the bytes of one bulk string; anything else is a failure.
    pub fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        let line = self.line()?;
        if let Some(status) = line.strip_prefix('+') {
            return Ok(status.as_bytes().to_vec());
        }
        let length = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
        let mut bytes = vec![0; length.ok_or(format!("unexpected reply {line:?}"))? + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(bytes.len() - 2);
        Ok(bytes)
    }
}
