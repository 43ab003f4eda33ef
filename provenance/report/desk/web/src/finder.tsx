import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { D } from "./data";
import { search, type Hit } from "./search";
import { fileLink, Name, Origin, packageLink, partPath, to, whole } from "./ui";
import { F } from "./data";

function linkOf(h: Hit): string {
  switch (h.kind) {
    case "file": return fileLink(h.file);
    case "package": return packageLink(h.pkg);
    case "requirement": return to("requirement", h.id);
    case "stage": return to("pipeline", h.stage);
    case "document": return to("document", h.doc);
    case "hash": return to("hash", h.sha256);
  }
}

function Row({ h }: { h: Hit }) {
  switch (h.kind) {
    case "file": return <><Name>{partPath(h.file)}</Name><Origin kind={D.kinds[F.kind[h.file]]} /></>;
    case "package": return <><Name>{D.packages[h.pkg].name}</Name><span class="aside">{D.packages[h.pkg].version}</span></>;
    case "requirement": return <><b>{h.id}</b><span class="aside">{D.requirements.find((r) => r.id === h.id)?.title}</span></>;
    case "stage": return <Name>{h.stage}</Name>;
    case "document": return <span>{h.title}</span>;
    case "hash": return <><span class="hash">{h.sha256.slice(0, 20)}…</span><span class="aside"><Name>{h.where}</Name></span></>;
  }
}

const titles: Record<Hit["kind"], string> = { requirement: "Requirements", package: "Packages", stage: "Stages", document: "Documents", hash: "Hashes", file: "Files" };

/** The search: results while one types, arrows and Enter to choose. */
export function Finder() {
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const found = useMemo(() => search(text), [text]);
  const { hits } = found;
  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      const el = e.target as HTMLElement;
      if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|TEXTAREA)$/.test(el.tagName)) {
        e.preventDefault();
        input.current?.focus();
        input.current?.select();
      }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  useEffect(() => {
    if (open) document.getElementById("hit-" + at)?.scrollIntoView({ block: "nearest" });
  }, [at, open]);
  const go = (h: Hit) => {
    setOpen(false);
    input.current?.blur();
    location.hash = linkOf(h);
  };
  const keys = (e: KeyboardEvent) => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      setOpen(true);
      if (hits.length) setAt((at + (e.key === "ArrowDown" ? 1 : hits.length - 1)) % hits.length);
    } else if (e.key === "Enter" && open && hits[at]) {
      e.preventDefault();
      go(hits[at]);
    } else if (e.key === "Escape") {
      if (open) setOpen(false);
      else setText("");
    }
  };
  const show = open && text.trim() !== "";
  return (
    <div class="finder" role="search" onFocusOut={(e) => { if (!(e.currentTarget as HTMLElement).contains(e.relatedTarget as Node)) setOpen(false); }}>
      <input
        ref={input} id="search" type="search" role="combobox" list={undefined} autocomplete="off" spellcheck={false}
        placeholder="File, package, requirement or hash" aria-label="Search files, packages, requirements and hashes"
        aria-expanded={show} aria-controls="hits" aria-autocomplete="list" aria-activedescendant={show && hits.length ? "hit-" + at : undefined}
        value={text} onInput={(e) => (setText(e.currentTarget.value), setAt(0), setOpen(true))} onFocus={() => setOpen(true)} onKeyDown={keys}
      />
      <kbd aria-hidden="true">/</kbd>
      <div id="hits" class="hits" role="listbox" aria-label="Results" hidden={!show}>
        {show && hits.map((h, i) => (
          <>
            {(i === 0 || hits[i - 1].kind !== h.kind) && <div class="group" role="presentation">{titles[h.kind]}{h.kind === "file" && <span> {whole.format(found.files)}{found.more ? "+" : ""}</span>}</div>}
            <div id={"hit-" + i} role="option" aria-selected={i === at} class="hit" onMouseDown={(e) => (e.preventDefault(), go(h))} onMouseMove={() => at !== i && setAt(i)}><Row h={h} /></div>
          </>
        ))}
        {show && !hits.length && <div class="group" role="option" aria-selected={false} aria-disabled={true}>Nothing has all of that in its name.</div>}
      </div>
      <span class="hidden" role="status">{show ? `${whole.format(hits.length)} results` : ""}</span>
    </div>
  );
}
