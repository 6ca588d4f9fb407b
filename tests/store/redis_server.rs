//! A `redis-server` of the test's own, on a free port of this machine with its data in a temporary
//! directory; ends with the test. Speaks just enough of the protocol to look into it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Generous: a loaded machine is slow.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    options: Vec<String>,
    directory: TempDir,
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
    Integer(i64),
    Bytes(Option<Vec<u8>>),
    List(Vec<Reply>),
}

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word in each target")]
impl RedisServer {
    /// With AOF, as the store wants it.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--appendonly", "yes"]).await
    }

    /// With an AOF that is synced before each answer: every second, the default, Redis answers up to two
    /// seconds ahead of its file while the disk is slow, and a kill then loses what was acknowledged.
    pub(crate) async fn start_durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// With options of the test's choice.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        Self::launch(options, spawn).await
    }

    /// A Sentinel that watches over the primary `main` on this port, with a quorum of two.
    pub(crate) async fn start_sentinel(primary: u16) -> Self {
        Self::launch(vec![primary.to_string()], spawn_sentinel).await
    }

    async fn launch(options: Vec<String>, spawn: fn(u16, &Path, &[String]) -> Child) -> Self {
        loop {
            // Somebody else may take the port before the server does; it then ends, and another is tried.
            let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").port();
            // The bus of a Cluster is 10,000 above.
            if port > 55_000 {
                continue;
            }
            let directory = TempDir::new().expect("a directory");
            let child = spawn(port, directory.path(), &options);
            let mut server = Self { child, port, options: options.clone(), directory };
            if server.answers().await {
                return server;
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As `--store` takes it, with a prefix for all keys.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("redis://127.0.0.1:{}?prefix={prefix}", self.port)
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills the process as a crash would.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Stops it as it stands, connections and all, until it is resumed.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        // The shell's own `kill`: a signal needs unsafe code in Rust, and `kill` may not be installed.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("sh runs").success(), "SIG{name} was not sent");
    }

    /// Starts it again on the same port and files.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, self.directory.path(), &self.options);
        assert!(self.answers().await, "redis-server did not start again");
    }

    /// Runs one command on a connection of its own.
    pub(crate) fn run(&self, command: &[&str]) -> Reply {
        let arguments: Vec<_> = command.iter().map(|argument| argument.as_bytes()).collect();
        self.run_bytes(&arguments).expect("an answer")
    }

    /// The same, with any bytes.
    pub(crate) fn run_bytes(&self, command: &[&[u8]]) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command {
            request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        stream.write_all(&request)?;
        read(&mut BufReader::new(stream))
    }

    /// Listens from now on to what anybody tells the server.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(START_DEADLINE)).expect("a timeout");
        stream.write_all(b"*1\r\n$7\r\nMONITOR\r\n").expect("sent");
        let mut stream = BufReader::new(stream);
        assert_eq!(read(&mut stream).expect("an answer"), Reply::Text("OK".to_owned()));
        Monitor(stream)
    }

    /// Every key there is.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        let Reply::List(keys) = self.run(&["KEYS", "*"]) else { panic!("no keys") };
        let bytes = |reply| if let Reply::Bytes(Some(key)) = reply { key } else { panic!("no key: {reply:?}") };
        keys.into_iter().map(bytes).collect()
    }

    /// All that it holds, to the byte: each key's value, and when it expires.
    pub(crate) fn dump(&self) -> BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
        let one = |key: Vec<u8>| {
            let Ok(Reply::Bytes(Some(value))) = self.run_bytes(&[b"DUMP", &key]) else { panic!("no dump") };
            let Ok(Reply::Integer(expires)) = self.run_bytes(&[b"PEXPIRETIME", &key]) else { panic!("no time") };
            (key, (value, expires))
        };
        self.keys().into_iter().map(one).collect()
    }

    async fn answers(&mut self) -> bool {
        let pong = async {
            loop {
                if self.child.try_wait().expect("the process can be asked").is_some() {
                    return false;
                }
                if let Ok(Reply::Text(text)) = self.run_bytes(&[b"PING"])
                    && text == "PONG"
                {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(START_DEADLINE, pong).await.expect("redis-server answers")
    }
}

/// What is said to a server.
#[derive(Debug)]
pub(crate) struct Monitor(BufReader<TcpStream>);

#[allow(dead_code, reason = "a vocabulary for tests, which need not use every word in each target")]
impl Monitor {
    /// All that was said until now, each command's arguments as they were.
    pub(crate) fn heard(mut self, server: &RedisServer) -> Vec<u8> {
        const END: &[u8] = b"no more to hear";
        server.run_bytes(&[b"ECHO", END]).expect("an answer");
        let (mut heard, mut line) = (Vec::new(), Vec::new());
        while !heard.ends_with(END) {
            line.clear();
            self.0.read_until(b'\n', &mut line).expect("a line");
            heard.push(b'\n');
            heard.extend(unescaped(line.trim_ascii_end()).strip_suffix(b"\"").unwrap_or_default());
        }
        heard
    }
}

/// `MONITOR` writes what is no printable character as `\xNN` or by its letter.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escaped character") {
            b'x' => {
                let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits")));
                u8::from_str_radix(&digits.iter().collect::<String>(), 16).expect("a byte")
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            other => other,
        });
    }
    bytes
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Both fail if the process has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, directory: &Path, options: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--rdbcompression", "no"])
        .args(["--loglevel", "warning"])
        .arg("--dir")
        .arg(directory)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server can be started: `make test` installs it")
}

fn spawn_sentinel(port: u16, directory: &Path, primary: &[String]) -> Child {
    let file = directory.join("sentinel.conf");
    let lines = [
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", directory.display()),
        format!("sentinel monitor main 127.0.0.1 {} 2", primary[0]),
        "sentinel down-after-milliseconds main 1000".to_owned(),
        "sentinel failover-timeout main 5000".to_owned(),
    ];
    std::fs::write(&file, lines.join("\n")).expect("a configuration");
    Command::new("redis-server")
        .arg(&file)
        .arg("--sentinel")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server can be started: `make test` installs it")
}

fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Reply> {
    let malformed = || std::io::Error::other("not the protocol of Redis");
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(malformed)?;
    let number = || rest.parse::<i64>().map_err(|_| malformed());
    Ok(match kind {
        "+" => Reply::Text(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Integer(number()?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Bytes(None),
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Bytes(Some(bytes))
            }
        },
        "*" => Reply::List((0..number()?).map(|_| read(stream)).collect::<Result<_, _>>()?),
        _ => return Err(malformed()),
    })
}
