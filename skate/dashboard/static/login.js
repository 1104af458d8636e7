// Exchanges the token for a cookie. The token is sent in a body, never in an address.
const form = document.getElementById("form");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = document.getElementById("wrong");
  const body = JSON.stringify({ token: document.getElementById("token").value });
  try {
    const answer = await fetch("/login", { method: "POST", headers: { "content-type": "application/json" }, body });
    if (answer.ok) location.assign("/");
    else wrong.textContent = (await answer.json()).error;
  } catch {
    wrong.textContent = "the dashboard does not answer";
  }
});
