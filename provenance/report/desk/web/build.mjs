// Bundles src/ into one script and one style sheet, the same bytes each time.
// The notices of what is bundled stand at the head of the script.
import { build } from "esbuild";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const out = process.argv[2] ?? "../dist";
mkdirSync(out, { recursive: true });

const common = {
  bundle: true, minify: true, charset: "ascii", target: "es2022", legalComments: "none", metafile: true, write: false, logLevel: "warning",
  loader: { ".woff2": "dataurl" },
};
const style = await build({ ...common, entryPoints: ["src/style.css"] });
const packages = (result) => Object.keys(result.metafile.inputs).map((f) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(f)?.[1]).filter(Boolean);
const first = await build({ ...common, entryPoints: ["src/main.tsx"], format: "iife", define: { NOTICES: "[]" } });

const notices = [...new Set([...packages(style), ...packages(first)])].sort().map((name) => {
  const dir = join("node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
  const file = readdirSync(dir).find((f) => /^licen[cs]e/i.test(f));
  if (!file || !existsSync(join(dir, file))) throw new Error(`${name}: has no licence`);
  return { name, version, licence: license, text: readFileSync(join(dir, file), "utf8").replace(/\r/g, "").trim() };
});
const script = await build({ ...common, entryPoints: ["src/main.tsx"], format: "iife", define: { NOTICES: JSON.stringify(notices) } });

writeFileSync(join(out, "desk.js"), script.outputFiles[0].contents);
writeFileSync(join(out, "desk.css"), style.outputFiles[0].contents);
