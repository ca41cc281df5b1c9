//! Replies of both protocols, as far as clients look into them while they connect.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::support::DEADLINE;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// `+`, `$` and `=`, the last without its format.
    Text(Vec<u8>),
    /// `-` and `!`
    Error(String),
    /// `:`
    Integer(i64),
    /// `_`, and what RESP2 has for it.
    Null,
    /// `*` and `~`
    Array(Vec<Frame>),
    /// `%`, as pairs.
    Map(Vec<(Frame, Frame)>),
    /// `>`
    Push(Vec<Frame>),
}

/// A connection on which whole frames are read.
pub struct Wire {
    reader: BufReader<TcpStream>,
}

impl Frame {
    /// The value that belongs to `name`, in a map or in an array of names and values.
    pub fn field(&self, name: &str) -> Option<&Frame> {
        let is_name = |frame: &Frame| *frame == Frame::Text(name.as_bytes().to_vec());
        match self {
            Self::Map(pairs) => pairs.iter().find(|(at, _)| is_name(at)).map(|(_, value)| value),
            Self::Array(items) => {
                items.chunks_exact(2).find(|pair| is_name(&pair[0])).map(|pair| &pair[1])
            }
            Self::Text(_) | Self::Error(_) | Self::Integer(_) | Self::Null | Self::Push(_) => None,
        }
    }
}

impl Wire {
    /// Connects to a loopback port.
    pub fn to(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listener");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        Self { reader: BufReader::new(stream) }
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one frame, or says why not.
    pub fn frame(&mut self) -> io::Result<Frame> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let body = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let mark = body.chars().next().ok_or_else(|| io::Error::other("an empty line"))?;
        let rest = &body[mark.len_utf8()..];
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match mark {
            '+' => Frame::Text(rest.as_bytes().to_vec()),
            '-' => Frame::Error(rest.to_owned()),
            ':' => Frame::Integer(number()?),
            '_' => Frame::Null,
            '$' | '*' if rest == "-1" => Frame::Null,
            '$' => Frame::Text(self.bulk(number()?)?),
            '=' => Frame::Text(self.bulk(number()?)?.split_off("txt:".len())),
            '!' => Frame::Error(String::from_utf8_lossy(&self.bulk(number()?)?).into_owned()),
            '*' | '~' => Frame::Array(self.frames(number()?)?),
            '>' => Frame::Push(self.frames(number()?)?),
            '%' => {
                let flat = self.frames(2 * number()?)?;
                Frame::Map(flat.chunks_exact(2).map(|it| (it[0].clone(), it[1].clone())).collect())
            }
            _ => return Err(io::Error::other(format!("no frame of these replies: {body:?}"))),
        })
    }

    fn frames(&mut self, count: i64) -> io::Result<Vec<Frame>> {
        (0..count).map(|_| self.frame()).collect()
    }

    fn bulk(&mut self, len: i64) -> io::Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut bytes = vec![0; len + 2];
        self.reader.read_exact(&mut bytes)?;
        assert!(bytes.ends_with(b"\r\n"), "a bulk without its end");
        bytes.truncate(len);
        Ok(bytes)
    }
}
