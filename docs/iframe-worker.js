// Search in a site that is opened as a file. Browsers let no file start a worker: a hidden frame runs its script.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      this.frame = new Promise((resolve, reject) => {
        const frame = document.createElement("iframe");
        frame.hidden = true;
        document.body.append(frame);
        const inside = frame.contentWindow;
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        const element = inside.document.createElement("script");
        element.onload = () => resolve(inside);
        element.onerror = reject;
        element.src = script;
        inside.document.head.append(element);
      });
    }

    postMessage(data) {
      this.frame.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
  };
}
