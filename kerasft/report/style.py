"""The style of the page: light and dark, narrow and wide, on screen and on paper."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c1c1c; --quiet: #5c5c5c; --rule: #d9d9d9;
  --soft: #f3f3f3;
  --c1: #0b5394; --c2: #b45309; --c3: #15803d; --c4: #7e22ce; --c5: #b91c1c; --c6: #0f766e; --bad: #a40000; }
@media (prefers-color-scheme: dark) { :root { --page: #161616; --text: #ececec; --quiet: #a8a8a8;
  --rule: #3d3d3d; --soft: #222;
  --c1: #8ec5ff; --c2: #f5b866; --c3: #7ddc9a; --c4: #d3a5ff; --c5: #ff9b9b; --c6: #72dccd;
  --bad: #ff9b9b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-top: 0.6rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
p, ul { margin: 0.5rem 0; max-width: 48rem; } ul { padding-left: 1.2rem; }
.quiet { color: var(--quiet); } .missing { color: var(--quiet); font-style: italic; }
.warning { border-left: 4px solid var(--bad); padding: 0.4rem 0.8rem; background: var(--soft);
  max-width: 48rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.8rem; margin: 1rem 0; }
.tiles div { background: var(--soft); padding: 0.6rem 1rem; border-radius: 0.4rem; flex: 0 1 auto;
  min-width: 8.5rem; }
.tiles strong { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--quiet); font-size: 0.85rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
figure { margin: 0.5rem 0; flex: 1 1 20rem; max-width: 34rem; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: 0.3rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--text); }
svg .quiet { fill: var(--quiet); font-size: 10px; }
.rule { stroke: var(--rule); } .phase { stroke: var(--quiet); stroke-dasharray: 1 3; }
.line { fill: none; stroke-width: 2; } .dashed { stroke-dasharray: 5 3; }
.s1 { --own: var(--c1); } .s2 { --own: var(--c2); } .s3 { --own: var(--c3); } .s4 { --own: var(--c4); }
.s5 { --own: var(--c5); } .s6 { --own: var(--c6); }
.line { stroke: var(--own); } .dot, .point { fill: var(--own); }
.hollow { fill: var(--page); stroke: var(--own); stroke-width: 1.5; }
.cell { fill: var(--c1); } .empty { fill: none; stroke: var(--rule); stroke-width: 0.7; }
.scroll { overflow-x: auto; max-width: 100%; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem; }
th, td { padding: 0.2rem 0.6rem; text-align: left; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th { max-width: 16rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
thead th { color: var(--quiet); font-weight: 600; } tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
.matrix td { text-align: center; min-width: 2.4rem; border: 1px solid var(--rule); }
.matrix td.right { font-weight: 700; outline: 2px solid var(--quiet); outline-offset: -2px; }
.matrix td.hit { background: color-mix(in srgb, var(--c1) calc(var(--share) * 1%), var(--page)); }
.matrix td.deep { color: var(--page); }
.wrong { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; padding: 0;
  list-style: none; max-width: none; }
.wrong img { display: block; width: 6rem; height: 6rem; object-fit: contain; background: var(--soft);
  image-rendering: auto; margin-bottom: 0.3rem; }
.wrong img.tiny { image-rendering: pixelated; }
.wrong li { font-size: 0.85rem; line-height: 1.35; } .wrong b { display: block; }
.texts { grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); }
.texts q { display: block; background: var(--soft); padding: 0.5rem 0.7rem; margin-bottom: 0.3rem; }
pre { background: var(--soft); padding: 0.8rem; overflow-x: auto; max-width: 100%; font-size: 0.85rem; }
details { margin: 0.5rem 0; } summary { cursor: pointer; color: var(--quiet); }
a { color: var(--c1); } nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.9rem; }
"""
