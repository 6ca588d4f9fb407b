//! A resource server that fetches the key set now and then, and checks tokens with what it has.

use super::*;

pub(super) struct Poller {
    /// In minutes.
    pub(super) every: u32,
    at: u32,
    pub(super) kids: BTreeSet<String>,
    json: Vec<u8>,
    verifier: Verifier,
    world: (RealmName, Arc<Issuers>, Arc<token_authority::verify::revocations::RevocationIndex>),
}

impl Poller {
    pub(super) fn every(every: u32, at: u32, world: &World) -> Self {
        let realm = RealmName::parse("web").expect("a realm");
        let issuers = Arc::new(Issuers::default());
        issuers.set(realm.clone(), ["https://issuer.example".to_owned()], Arc::default());
        let verifier = Verifier::new(Arc::default(), issuers.clone(), world.index.clone(), 0);
        Self {
            every,
            at,
            kids: BTreeSet::new(),
            json: Vec::new(),
            verifier,
            world: (realm, issuers, world.index.clone()),
        }
    }

    pub(super) fn pass(&mut self, minute: u32, served: &token_authority::authority::JsonWebKeySet) {
        let fetches = minute == 0 || minute % self.every == self.at;
        if !fetches || served.json == self.json {
            return;
        }
        let (realm, issuers, index) = &self.world;
        let keys = KeySet::default();
        for key in &served.keys {
            let public = PublicKey::from_jwk(key.as_object().expect("an object")).expect("a key");
            keys.install(VerifyKey::new(realm.clone(), public).expect("a key")).expect("one realm");
        }
        self.kids = served.keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect();
        self.json.clone_from(&served.json);
        let leeway = Leeway::MAX;
        self.verifier = Verifier::new(Arc::new(keys), issuers.clone(), index.clone(), 0).with_leeway(leeway);
    }

    pub(super) fn verifies(&self, token: &str, now: Timestamp) {
        let verified = self.verifier.verify(&self.world.0, token, now);
        assert!(verified.is_ok(), "{now:?}, fetched every {} min: {verified:?}", self.every);
    }
}
