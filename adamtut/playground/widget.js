// The widget of anywidget: the element, with the traits of adamtut.widget.Playground.
const TRAITS = ["surface", "start", "steps", "runs"];

function render({ model, el }) {
  const element = document.createElement("adam-playground");
  element.toggleAttribute("nolink", true); // a notebook's address carries no setting
  const fromModel = () => {
    const setting = Object.fromEntries(TRAITS.map((name) => [name, model.get(name)]));
    if (JSON.stringify(setting) !== JSON.stringify(element.setting)) {
      element.setting = setting;
    }
  };
  const toModel = () => {
    let changed = false;
    for (const [name, value] of Object.entries(element.setting)) {
      if (JSON.stringify(value) === JSON.stringify(model.get(name))) continue;
      model.set(name, value);
      changed = true;
    }
    if (changed) model.save_changes();
  };
  fromModel();
  for (const name of TRAITS) model.on(`change:${name}`, fromModel);
  element.addEventListener("setting", toModel);
  el.append(element);
  return () => {
    for (const name of TRAITS) model.off(`change:${name}`, fromModel);
  };
}

export default { render };
