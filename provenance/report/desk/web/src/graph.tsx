import { Graph, layout } from "@dagrejs/dagre";
import { curveBasis, line } from "d3-shape";
import { useMemo } from "preact/hooks";
import { useWidth } from "./ui";

export type Node = { id: string; kicker: string; title: string; sub?: string; href?: string; tone?: string; here?: boolean };
export type Edge = { from: string; to: string; says?: string; faint?: boolean };

const curve = line<{ x: number; y: number }>((p) => p.x, (p) => p.y).curve(curveBasis);

/** Nodes as cards, joined by arrows. What it says must also stand in words beside it. */
export function Drawing({ nodes, edges, across, about, width = 236, height = 62 }: { nodes: Node[]; edges: Edge[]; across?: boolean; about: string; width?: number; height?: number }) {
  const [ref, room] = useWidth<HTMLDivElement>();
  const drawn = useMemo(() => {
    const g = new Graph();
    g.setGraph({ rankdir: across ? "LR" : "TB", nodesep: across ? 12 : 26, ranksep: 34, edgesep: 10, marginx: 4, marginy: 4 });
    g.setDefaultEdgeLabel(() => ({}));
    for (const n of nodes) g.setNode(n.id, { width, height });
    for (const e of edges) g.setEdge(e.from, e.to, e.says ? { width: e.says.length * 6.2 + 8, height: 16, labelpos: "c" } : {});
    layout(g);
    return g;
  }, [nodes, edges, across, width, height]);
  const { width: w = 0, height: h = 0 } = drawn.graph() as { width?: number; height?: number };
  const scale = room && w > room ? Math.max(room / w, 0.55) : 1;
  return (
    <div class="drawing" ref={ref} role="group" aria-label={about}>
      <div class="canvas" style={{ width: `${w * scale}px`, height: `${h * scale}px` }}>
        <div style={{ width: `${w}px`, height: `${h}px`, transform: scale < 1 ? `scale(${scale})` : "none", transformOrigin: "0 0", position: "relative" }}>
          <svg width={w} height={h} viewBox={`0 0 ${w} ${h}`} aria-hidden="true">
            <defs>
              <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
                <path d="M0 .6 7 4 0 7.4z" />
              </marker>
            </defs>
            {edges.map((e) => {
              const at = drawn.edge(e.from, e.to) as { points: { x: number; y: number }[]; x?: number; y?: number };
              return (
                <g class={e.faint ? "faint" : ""}>
                  <path class="edge" d={curve(at.points) ?? ""} marker-end="url(#arrow)" />
                  {e.says && at.x !== undefined && <text x={at.x} y={at.y! + 4} text-anchor="middle">{e.says}</text>}
                </g>
              );
            })}
          </svg>
          {nodes.map((n) => {
            const at = drawn.node(n.id) as { x: number; y: number };
            const style = { left: `${at.x - width / 2}px`, top: `${at.y - height / 2}px`, width: `${width}px`, height: `${height}px` };
            const inside = (
              <>
                <span class="kicker">{n.kicker}</span>
                <bdi class="title">{n.title}</bdi>
                {n.sub && <bdi class="sub">{n.sub}</bdi>}
              </>
            );
            const look = `node ${n.tone ? "t-" + n.tone : ""} ${n.here ? "here" : ""}`;
            return n.href && !n.here ? (
              <a class={look} style={style} href={n.href} title={`${n.kicker}: ${n.title}`}>{inside}</a>
            ) : (
              <div class={look} style={style} title={`${n.kicker}: ${n.title}`}>{inside}</div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
