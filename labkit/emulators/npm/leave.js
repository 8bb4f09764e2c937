// Loaded before Azurite: ends it once the file that says where it runs is gone, for then nobody can find it again.
const fs = require("node:fs");
const state = process.env.MLE_EMULATOR_STATE;
let seen = false;
setInterval(() => {
  const there = fs.existsSync(state);
  if (seen && !there) process.exit(0);
  seen = there;
}, 2000).unref();
