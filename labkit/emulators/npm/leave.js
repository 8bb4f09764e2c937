// Loaded before Azurite: ends it once the file that says where it runs is gone, or the process it was started for is.
const fs = require("node:fs");
const state = process.env.MLE_EMULATOR_STATE;
const owner = process.env.MLE_OWNER;
let seen = false;

function isOrphan() {
  if (!owner) return false;
  try {
    process.kill(Number(owner), 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}

setInterval(() => {
  const there = fs.existsSync(state);
  if ((seen && !there) || isOrphan()) process.exit(0);
  seen = there;
}, 2000).unref();
