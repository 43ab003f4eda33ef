import { D, F, type Serves } from "./data";
import type { Edge, Node } from "./graph";
import { bytes, packageLink, partPath, to } from "./ui";

/** One step of a chain, in words. */
export type Step = { verb: string; name: string; href?: string; sha?: string; says?: string };

export type Chain = { nodes: Node[]; edges: Edge[]; steps: Step[] };

const short = (sha?: string) => (sha ? sha.slice(0, 16) : undefined);

/** What a package rests on: .deb, index, Release file, keys. */
export function packageChain(i: number, chain: Chain, from?: string) {
  const p = D.packages[i];
  const { nodes, edges, steps } = chain;
  const add = (n: Node, under: string | undefined, says: string) => {
    nodes.push(n);
    if (under) edges.push({ from: under, to: n.id, says });
  };
  if (p.from === "base") {
    add({ id: "deb", kicker: "Package of the base image", title: p.id, href: packageLink(i) }, from, "of");
    steps.push({ verb: from ? "of package" : "package", name: p.id, href: packageLink(i), says: "came with the base image; its .deb is not at hand" });
    return;
  }
  if (p.from === "overlay") {
    add({ id: "deb", kicker: ".deb of the project", title: `${p.name} ${p.version}`, sub: short(p.sha256), href: packageLink(i), tone: "overlay" }, from, "is in");
    steps.push({ verb: from ? "stands in" : "package", name: p.id, href: packageLink(i), sha: p.sha256, says: `${p.path} of the project` });
    add({ id: "pin", kicker: "Pinned by", title: "isotrace.yaml", sub: "no archive's key has signed it", tone: "overlay" }, "deb", "named by");
    steps.push({ verb: "named by", name: "isotrace.yaml", says: "with its SHA-256; no archive's key has signed it" });
    return;
  }
  add({ id: "deb", kicker: ".deb package", title: `${p.name} ${p.version}`, sub: short(p.sha256), href: packageLink(i), tone: "archive" }, from, "is in");
  steps.push({ verb: from ? "stands in" : "package", name: p.id, href: packageLink(i), sha: p.sha256, says: p.path });
  const suite = D.suites[p.suite];
  if (!suite) return;
  let under = "deb";
  if (p.index) {
    add({ id: "index", kicker: "Packages index", title: p.index.path.replace(/^dists\//, ""), sub: short(p.index.sha256), href: to("hash", p.index.sha256), tone: "archive" }, under, "named by");
    steps.push({ verb: "named by", name: p.index.path, sha: p.index.sha256, says: `index of ${suite.id}` });
    under = "index";
  }
  add({ id: "release", kicker: "Release file", title: suite.id, sub: suite.date, href: to("hash", suite.release.sha256), tone: "archive" }, under, "named by");
  steps.push({ verb: "named by", name: suite.release.path, sha: suite.release.sha256, says: `of ${suite.date}` });
  for (const key of suite.signers) {
    add({ id: "key " + key, kicker: "Archive key", title: key, tone: "key" }, "release", "signed by");
    steps.push({ verb: "signed by", name: key, says: `key of the archive ${suite.id.split("/")[0]}` });
  }
}

/** Requirements as nodes above what serves them. */
export function requirementNodes(list: Serves[], chain: Chain, under: string) {
  for (const s of list.slice(0, 4)) {
    const id = "requirement " + s.id;
    if (chain.nodes.some((n) => n.id === id)) continue;
    chain.nodes.push({ id, kicker: "Requirement", title: [s.id, s.title].filter(Boolean).join("  "), sub: s.path.length > 1 ? "through " + s.path.join(" → ") : undefined, href: to("requirement", s.id), tone: "requirement" });
    chain.edges.push({ from: under, to: id, says: "serves", faint: true });
  }
}

/** What a file stands in, rests on and serves. */
export function fileChain(i: number): Chain & { serves: Serves[] } {
  const part = D.parts[F.partOf(i)];
  const chain: Chain = { nodes: [], edges: [], steps: [] };
  const { nodes, edges, steps } = chain;
  const links = new Set<string>();
  const link = (from: string, stage: string, file: string) => {
    const id = "link " + file;
    if (!links.has(file)) {
      links.add(file);
      nodes.push({ id, kicker: "Signed link of a stage", title: stage, sub: file, href: to("pipeline", stage), tone: "stage" });
      edges.push({ from: id, to: "builder", says: "signed by", faint: true });
    }
    edges.push({ from, to: id, says: "recorded by", faint: true });
  };
  const image = part.name === "disk" ? "Disk image" : "ISO image";
  nodes.push({ id: "image", kicker: image, title: part.image || D.image, sub: short(part.sha256), href: to(), tone: "image" });
  nodes.push({ id: "builder", kicker: "Builder's key", title: D.verdict.key, sub: D.verdict["key-from-bundle"] ? "as it came with the evidence" : "as it was named", tone: "key" });
  edges.push({ from: "image", to: "builder", says: "signed sums", faint: true });
  steps.push({ verb: image, name: part.image || D.image, sha: part.sha256 });
  let under = "image";
  part.within.forEach((w, n) => {
    const id = "within" + n;
    const medium = D.parts.findIndex((p) => p.name === "medium");
    const at = medium < 0 ? -1 : F.find(medium, w.path);
    nodes.push({ id, kicker: "File of the ISO", title: w.path, sub: short(w.sha256), href: at >= 0 ? to("file", at, w.path) : undefined, tone: "image" });
    edges.push({ from: under, to: id, says: "holds" });
    link(id, w.stage, w.link);
    steps.push({ verb: "holds", name: w.path, href: at >= 0 ? to("file", at, w.path) : undefined, sha: w.sha256, says: `recorded by ${w.link}` });
    under = id;
  });
  const kind = D.kinds[F.kind[i]];
  const type = D.types[F.type[i]];
  const sha = F.sha256(i);
  nodes.push({ id: "file", kicker: type === "file" ? `File, ${bytes(F.size[i])}` : type === "dir" ? "Folder" : type, title: partPath(i), sub: short(sha) ?? F.target.get(i), tone: kind, here: true });
  edges.push({ from: under, to: "file", says: "holds" });
  steps.push({ verb: "holds", name: partPath(i), sha, says: [type === "link" ? "link to " + F.target.get(i) : "", kind].filter(Boolean).join(", ") });

  const of = F.of.get(i);
  if (of) {
    const [name, ...rest] = of.split(":");
    const at = D.parts.findIndex((p) => p.name === name);
    const target = at < 0 ? -1 : F.find(at, rest.join(":"));
    steps.push({ verb: "a copy of", name: "/" + rest.join(":"), href: target >= 0 ? to("file", target, F.path(target)) : undefined, says: "of the root file system" });
  }
  const actor = D.actors[F.by[i]];
  if (actor) {
    const text = actor.text;
    nodes.push({ id: "actor", kicker: kind === "modified" ? "Changed by" : kind === "overlay" ? "Put there by" : "Made by", title: text, sub: "in stage " + actor.stage, href: to("pipeline", actor.stage), tone: kind });
    edges.push({ from: "file", to: "actor", says: kind === "modified" ? "changed by" : "by" });
    link("actor", actor.stage, actor.link);
    steps.push({ verb: kind === "modified" ? "changed by" : "made by", name: text, says: `in stage ${actor.stage}, recorded by ${actor.link}` });
  }
  const pkg = F.pkg[i] >= 0 ? F.pkg[i] : (actor?.package ?? -1);
  const serves: Serves[] = [];
  if (pkg >= 0) {
    packageChain(pkg, chain, F.pkg[i] >= 0 ? "file" : "actor");
    serves.push(...(D.packages[pkg].serves ?? []));
    requirementNodes(serves, chain, "deb");
  }
  if (actor?.own?.length) {
    serves.push(...actor.own);
    requirementNodes(actor.own, chain, "actor");
  }
  return { ...chain, serves };
}
