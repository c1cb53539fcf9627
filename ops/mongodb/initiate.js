// Makes the replica set and the node's database user; run by docker-compose.yml, by mongosh.
const { readFileSync } = require("fs");

const secret = (name) => readFileSync(`/run/secrets/${name}`, "utf8").trim();
const node = new URL(secret("mongodb_uri"));
const host = node.host;
const database = node.pathname.slice(1);
const root = `mongodb://root:${encodeURIComponent(secret("mongodb_root_password"))}@${host}/admin`;

const admin = connect(`${root}?directConnection=true`);
try {
  admin.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  admin.adminCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host }] } });
}

const deadline = Date.now() + 60_000;
while (!admin.hello().isWritablePrimary) {
  if (Date.now() > deadline) throw new Error("the replica set has no primary after a minute");
  sleep(500);
}

const user = decodeURIComponent(node.username);
const account = { pwd: decodeURIComponent(node.password), roles: [{ role: "readWrite", db: database }] };
if (admin.getUser(user) === null) admin.createUser({ user, ...account });
else admin.updateUser(user, account);
print(`replica set rs0 is up; ${user} may use ${database}`);
