//! Rows as tests: each runs on each store, by itself on a server that its system's rows share, and has
//! to call that server.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::backend::Store;
use crate::boot;
use crate::report::{Report, Shown};
use crate::test_server::TestServer;

/// A system: the name of its realm and of its file, and its rows.
#[derive(Clone, Copy)]
pub(crate) struct System {
    pub(crate) realm: &'static str,
    pub(crate) rows: &'static [Row],
}

/// A test that is named after the row that it shows, such as `a1_what_it_shows`.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) show: for<'a> fn(&'a TestServer) -> LocalBoxFuture<'a, ()>,
}

impl Row {
    /// Its id, such as `A1`.
    pub(crate) fn id(&self) -> String {
        self.name.split('_').next().unwrap_or_default().to_uppercase()
    }
}

/// Makes a system of the functions that show its rows. Each takes the server that they share: it is
/// theirs while they run, and its clock may be turned forward.
macro_rules! rows {
    ($realm:literal: $($row:ident),+ $(,)?) => {
        pub(crate) const SYSTEM: $crate::rows::System = $crate::rows::System {
            realm: $realm,
            rows: &[$($crate::rows::Row { name: stringify!($row), show: |server| Box::pin($row(server)) }),+],
        };
    };
}
pub(crate) use rows;

/// Longer than any session of any realm lives.
const LONG: Duration = Duration::from_secs(32 * 86_400);

/// Where the rows of a system are shown, one after another, each so long after the one before that
/// nothing of that is left: what one does, such as turning the clock, disturbs no other.
pub(crate) struct Stage {
    system: System,
    runtime: Arc<Runtime>,
    report: Arc<Report>,
}

/// The servers, each started by the first row that needs it.
type Servers = Arc<Mutex<[Option<TestServer>; Store::ALL.len()]>>;

impl Stage {
    pub(crate) fn of(system: System, runtime: Arc<Runtime>, report: Arc<Report>) -> Self {
        Self { system, runtime, report }
    }

    pub(crate) fn trials(self) -> Vec<Trial> {
        let servers = Servers::default();
        let shows = self.system.rows.iter().flat_map(|row| Store::ALL.map(|store| (*row, store)));
        let trial = |(row, store): (Row, Store)| {
            let (realm, servers) = (self.system.realm, servers.clone());
            let (runtime, report) = (self.runtime.clone(), self.report.clone());
            Trial::test(format!("{realm}::{}::{}", row.name, store.name()), move || {
                let calls = runtime.block_on(show(row, realm, store, &servers));
                report.add(Shown { row: row.name, store, calls });
                if calls == 0 { Err("it called no server".into()) } else { Ok(()) }
            })
        };
        shows.map(trial).collect()
    }
}

async fn show(row: Row, realm: &'static str, store: Store, servers: &Servers) -> u64 {
    let mut servers = servers.lock().await;
    let server = &mut servers[store as usize];
    if server.is_none() {
        *server = Some(boot::start(realm, store).await);
    }
    let server = server.as_ref().expect("started");
    server.pass(LONG);
    let before = boot::calls(server).await;
    (row.show)(server).await;
    boot::calls(server).await - before
}

/// One of each, again and again: rows of several systems run at once.
pub(crate) fn in_turn<T>(lists: impl IntoIterator<Item = Vec<T>>) -> Vec<T> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(lists.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}
