// A click on a trajectory shows the gate's path among the three normalizers. The circle around their
// centre is the radius at that time: no gate can be inside it.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const WIDTH = 260, HEIGHT = WIDTH * Math.sqrt(3) / 2, LEFT = 20, TOP = 18;
  const rows = all(".trail tr[data-gate]");
  if (!rows.length) return;
  const history = JSON.parse(document.getElementById("run").textContent).history;
  const radii = (document.querySelector(".trail").dataset.radii ?? "").trim().split(" ").map(Number);
  const place = (first, second) => { // ratios of IN (left), LN (top), BN (right)
    const third = 1 - first - second;
    return [LEFT + WIDTH * (third + second / 2), TOP + HEIGHT * (1 - second)];
  };
  const drawn = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

  const panel = (gate, name, number) => {
    const digits = gate.ratios.match(/../g).map((pair) => Number(pair) / 99);
    const points = [];
    for (let i = 0; i < digits.length; i += 2) points.push(place(digits[i], digits[i + 1]));
    const corners = [place(1, 0), place(0, 1), place(0, 0)];
    const face = `${line(corners)}Z`;
    const [x, y] = place(1 / 3, 1 / 3);
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH + 2 * LEFT} ${HEIGHT + TOP + 22}`, role: "img" });
    svg.setAttribute("aria-label", `Path of the gate of ${name} among IN, LN and BN`);
    const clip = drawn("clipPath", { id: `face${number}` });
    clip.append(drawn("path", { d: face }));
    const circle = drawn("circle", { class: "circle", cx: x, cy: y, r: 0, "clip-path": `url(#face${number})` });
    const ahead = drawn("path", { class: "ahead", d: line(points) });
    const behind = drawn("path", {});
    const at = drawn("circle", { class: "at", r: 5 });
    svg.append(clip, drawn("path", { class: "face", d: face }), circle, ahead, behind, at);
    const anchors = ["start", "middle", "end"];
    ["IN", "LN", "BN"].forEach((text, i) => svg.append(drawn("text", {
      x: corners[i][0], y: i === 1 ? TOP - 6 : TOP + HEIGHT + 16, "text-anchor": anchors[i],
    }, text)));
    const label = document.createElement("label");
    const slider = document.createElement("input");
    const shown = document.createElement("output");
    slider.type = "range";
    slider.min = 1;
    slider.max = points.length;
    const move = () => {
      const part = slider.valueAsNumber - 1;
      const radius = radii.length === points.length ? radii[part] : 0;
      circle.setAttribute("r", radius * WIDTH / Math.SQRT2);
      behind.setAttribute("d", line(points.slice(0, part + 1)));
      at.setAttribute("cx", points[part][0]);
      at.setAttribute("cy", points[part][1]);
      const [first, second] = [digits[2 * part], digits[2 * part + 1]];
      const ratios = [first, second, Math.max(0, 1 - first - second)];
      const written = ratios.map((r, i) => `${["IN", "LN", "BN"][i]} ${Math.round(100 * r)} %`);
      shown.textContent = `${part + 1} of ${points.length}: ${written.join(", ")}`;
    };
    const frozen = gate.line.search(/[A-Z]+$/);
    slider.value = frozen < 0 ? points.length : Math.max(1, frozen);
    slider.addEventListener("input", move);
    move();
    label.append("training", slider, shown);
    const box = document.createElement("div");
    box.append(svg, label);
    return box;
  };

  for (const hint of all(".script")) hint.hidden = false;
  rows.forEach((row, number) => {
    const gate = history[row.dataset.gate];
    const cell = row.cells[1];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-label", `${cell.textContent} gate of ${gate.layer}: its path`);
    cell.replaceChildren(button);
    let opened = null;
    const toggle = () => {
      if (opened) {
        opened.remove();
        opened = null;
      } else {
        opened = document.createElement("tr");
        opened.className = "simplex";
        const wide = opened.insertCell();
        wide.colSpan = row.cells.length;
        wide.append(panel(gate, gate.layer, number));
        row.after(opened);
      }
      button.setAttribute("aria-expanded", String(Boolean(opened)));
    };
    button.addEventListener("click", toggle);
    row.querySelector(".line").addEventListener("click", toggle);
  });
})();
