// Does with an image what balena's own command line does, through its own modules. Prints one JSON value.
//   node config_modules.js read IMG            the configuration
//   node config_modules.js write IMG JSON      replaces it
//   node config_modules.js file IMG PATH       a file of the boot partition, base64
//   node config_modules.js list IMG PATH       the names in a directory of it
const [command, image, argument] = process.argv.slice(2);
const config = require("balena-config-json");
const imagefs = require("balena-image-fs");

async function onBoot(action) {
  return await imagefs.interact(image, await config.getBootPartition(image), (fs) => action(fs.promises));
}

const commands = {
  read: () => config.read(image, ""),
  write: async () => { await config.write(image, "", JSON.parse(argument)); return null; },
  file: () => onBoot(async (fs) => (await fs.readFile(argument)).toString("base64")),
  list: () => onBoot((fs) => fs.readdir(argument)),
};

commands[command]().then((value) => console.log(JSON.stringify(value)), (problem) => {
  console.error(problem);
  process.exit(1);
});
