//! A client that does exactly what it is told, and sees exactly what the kernel shows.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use crate::pod::{DEADLINE, Pod};

pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn connect(pod: &Pod) -> Self {
        let stream = TcpStream::connect(&pod.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, read: vec![] }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n"));
        self.answer()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// One whole answer with a content length.
    pub(crate) fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.fill().unwrap(), 0, "ended in a head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or_else(|| panic!("no length: {head}")).parse().unwrap();
        while self.read.len() < length {
            assert_ne!(self.fill().unwrap(), 0, "ended in a body");
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Answer { status, head, body }
    }

    /// Waits for the server's end: `true` for a FIN with nothing before it, `false` for a reset.
    pub(crate) fn ends_cleanly(&mut self) -> bool {
        match self.fill() {
            Ok(count) => count == 0 && self.read.is_empty(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("neither FIN nor reset: {error}"),
        }
    }

    /// Whatever else comes until the server's end.
    pub(crate) fn rest(mut self) -> io::Result<String> {
        while self.fill()? > 0 {}
        Ok(String::from_utf8_lossy(&self.read).into_owned())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        self.read.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl Answer {
    pub(crate) fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }

    pub(crate) fn has(&self, header: &str, value: &str) -> bool {
        self.head.contains(&format!("\r\n{header}: {value}\r\n"))
    }
}
