import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { D, F, load } from "./data";
import { Documents, DocumentView, Findings, Licences, Print } from "./documents";
import { Digest, File } from "./file";
import { Finder } from "./finder";
import { OriginView, Packages, PackageView, Requirements, RequirementView } from "./package";
import { Pipeline } from "./pipeline";
import { search } from "./search";
import { headline, Start } from "./start";
import { Treemap } from "./treemap";
import { to } from "./ui";

function route(): string[] {
  return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map((s) => {
    try {
      return decodeURIComponent(s);
    } catch {
      return s;
    }
  });
}

const index = (s: string | undefined, below: number) => (s !== undefined && /^\d+$/.test(s) && Number(s) < below ? Number(s) : -1);

function View({ at }: { at: string[] }) {
  const [view, ...rest] = at;
  switch (view ?? "") {
    case "": return <Start />;
    case "file": { const i = index(rest[0], F.count); if (i >= 0) return <File i={i} key={i} />; break; }
    case "package": { const i = index(rest[0], D.packages.length); if (i >= 0) return <PackageView i={i} key={i} />; break; }
    case "hash": return <Digest sha={rest[0] ?? ""} />;
    case "packages": return <Packages />;
    case "requirements": return <Requirements />;
    case "requirement": return <RequirementView id={rest[0] ?? ""} key={rest[0]} />;
    case "origin": if (D.kinds.includes(rest[0])) return <OriginView kind={rest[0]} key={rest[0]} />; break;
    case "map": return <Treemap mode={["folder", "package", "origin"].includes(rest[0]) ? rest[0] : "folder"} part={rest[1] ?? "root"} names={rest.slice(2)} />;
    case "pipeline": return <Pipeline stage={rest[0]} key={rest[0]} />;
    case "documents": return <Documents />;
    case "document": return <DocumentView id={rest[0] ?? ""} key={rest[0]} />;
    case "findings": return <Findings />;
    case "licences": return <Licences />;
    case "print": return <Print />;
  }
  return <header class="title"><h1 tabIndex={-1}>Nothing is here</h1><p class="lead"><a href={to()}>To the start</a></p></header>;
}

type Theme = "auto" | "light" | "dark";

function remembered(): Theme {
  try {
    const t = localStorage.getItem("isotrace-desk-theme");
    return t === "light" || t === "dark" ? t : "auto";
  } catch {
    return "auto";
  }
}

function App() {
  const [at, setAt] = useState(route);
  const [theme, setTheme] = useState<Theme>(remembered);
  const [printing, setPrinting] = useState(false);
  const help = useRef<HTMLDialogElement>(null);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const moved = () => {
      setAt(route());
      scrollTo(0, 0);
    };
    const key = (e: KeyboardEvent) => {
      if (e.key === "?" && !/^(INPUT|TEXTAREA|SELECT)$/.test((e.target as HTMLElement).tagName)) help.current?.showModal();
    };
    addEventListener("hashchange", moved);
    addEventListener("keydown", key);
    return () => (removeEventListener("hashchange", moved), removeEventListener("keydown", key));
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("isotrace-desk-theme", theme);
    } catch {
      // a page from a disk may have no storage
    }
  }, [theme]);
  const first = useRef(true);
  useEffect(() => {
    const h1 = main.current?.querySelector("h1");
    document.title = `${at.length ? h1?.textContent + " · " : ""}${D.name} ${D.release}: the auditor's desk`;
    if (!first.current) h1?.focus({ preventScroll: true });
    first.current = false;
  }, [at.join("/")]);
  useEffect(() => {
    // On paper goes all of it, whatever is on the screen.
    const on = () => { setPrinting(true); };
    const off = () => setPrinting(false);
    addEventListener("beforeprint", on);
    addEventListener("afterprint", off);
    return () => (removeEventListener("beforeprint", on), removeEventListener("afterprint", off));
  }, []);
  const [tone] = headline();
  const item = (href: string, text: string, on: boolean) => <li><a href={href} aria-current={on ? "page" : undefined}>{text}</a></li>;
  const view = at[0] ?? "";
  const next: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
  return (
    <div class={"desk" + (printing ? " printing" : "")}>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), main.current?.querySelector("h1")?.focus())}>To the content</a>
      <aside class="rail">
        <a class="brand" href={to()}><i class={"dot v-" + tone} aria-hidden="true" /><span><b>{D.name}</b> {D.release}</span></a>
        <nav aria-label="Views">
          <ul>
            {item(to(), "Verdict", view === "")}
            {item(to("map"), "Map", view === "map" || view === "file" || view === "origin")}
            {item(to("packages"), "Packages", view === "packages" || view === "package")}
            {item(to("requirements"), "Requirements", view === "requirements" || view === "requirement")}
            {item(to("pipeline"), "Pipeline", view === "pipeline")}
            {item(to("findings"), "Findings", view === "findings")}
          </ul>
          {!!D.documents?.length && <h2><a href={to("documents")} aria-current={view === "documents" ? "page" : undefined}>Documents</a></h2>}
          <ul>{(D.documents ?? []).map((d) => item(to("document", d.id), d.title, view === "document" && at[1] === d.id))}</ul>
        </nav>
        <div class="foot">
          <button type="button" onClick={() => setTheme(next[theme])}>Colours: {theme}</button>
          <a href={to("print")}>Print</a>
          <button type="button" onClick={() => help.current?.showModal()}>Keys</button>
          <a href={to("licences")}>Licences</a>
        </div>
      </aside>
      <div class="page">
        <div class="top"><Finder /></div>
        <main id="main" ref={main} data-at={at.join("/")}>{printing ? <Print /> : <View at={at} />}</main>
      </div>
      <dialog ref={help} aria-labelledby="h-keys">
        <h2 id="h-keys">Keys</h2>
        <dl class="keys">
          <div><dt><kbd>/</kbd></dt><dd>search</dd></div>
          <div><dt><kbd>↑</kbd> <kbd>↓</kbd> <kbd>Enter</kbd></dt><dd>choose a result</dd></div>
          <div><dt><kbd>Backspace</kbd></dt><dd>up, in the map</dd></div>
          <div><dt><kbd>Tab</kbd> <kbd>Enter</kbd></dt><dd>move and open, everywhere</dd></div>
          <div><dt><kbd>?</kbd></dt><dd>these keys</dd></div>
        </dl>
        <button type="button" onClick={() => help.current?.close()}>Close</button>
      </dialog>
    </div>
  );
}

const app = document.getElementById("app")!;
const data = document.getElementById("data")!;
load(data.textContent!)
  .then(() => {
    data.remove();
    app.replaceChildren();
    render(<App />, app);
    // For tests: what a reader can do, timed without the drawing.
    Object.assign(globalThis, { desk: { search, files: F, ready: performance.now() } });
  })
  .catch((e: unknown) => {
    const p = document.createElement("p");
    p.textContent = "This page's data cannot be read: " + e;
    app.replaceChildren(p);
  });
