// Uses the page of a report as a person does, and leaves what it then shows as JSON.
const noted = {};
const by = id => document.getElementById(id);
const player = by("video");
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const cells = row => [...row.querySelectorAll("time, span")].map(cell => cell.textContent);
const listed = () => [...by("list").children].map(cells);
const heard = name => new Promise(there => player.addEventListener(name, () => setTimeout(there, 50), {once: true}));

function type(words) {
  by("search").value = words;
  by("search").dispatchEvent(new Event("input"));
}

function drawn() {
  const {width, height} = by("boxes");
  return by("boxes").getContext("2d").getImageData(0, 0, width, height).data.some(value => value);
}

if (player.readyState < 2) await heard("loadeddata");
noted.title = document.title;
noted.duration = player.duration;
noted.rows = listed();
noted.lanes = [...by("names").children].map(lane => lane.textContent);

press("n");
press("n");
noted.second = [...cells(by("list").querySelector('[aria-current="true"]')), player.currentTime];
await heard("seeked");
noted.drawn = drawn();
press("b");
noted.hidden = !drawn();

type("WALK");
noted.searched = listed();
type("");
by("kinds").querySelectorAll("input").forEach(box => box.click());
noted.none = listed();
noted.bold = document.querySelectorAll("b").length;

document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").textContent = JSON.stringify(noted);
