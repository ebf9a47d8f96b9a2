// Makes a video from a picture and a prompt: submits it, asks until it is final, and saves it.
// JDK 17 or newer, no library.
//
// SORA_URL=http://127.0.0.1:8080 SORA_KEY=sk-... java Generate.java image.png 'The animals run about' video.mp4
//
// With SORA_CALLBACK_URL it ends once the video is accepted: the gateway tells that URL when it is final, and
// Receive.java takes it from there.

import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.*;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import java.util.regex.*;

public class Generate {
    static final Map<String, String> ENV = System.getenv();
    static final String VIDEOS = ENV.getOrDefault("SORA_URL", "http://127.0.0.1:8080") + "/v1/videos";
    static final String CALLBACK_URL = ENV.get("SORA_CALLBACK_URL");
    static final HttpClient HTTP = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();

    public static void main(String[] args) throws Exception {
        try {
            if (args.length < 2) throw new IOException("usage: java Generate.java IMAGE PROMPT [TARGET]");
            // Java reads its arguments in the charset of the locale: with LC_ALL=C no Chinese comes through.
            if (args[1].contains("\uFFFD")) throw new IOException("the prompt is unreadable: set LC_ALL=C.UTF-8");
            generate(Path.of(args[0]), args[1], Path.of(args.length > 2 ? args[2] : "video.mp4"));
        } catch (IOException error) {
            System.err.println(error.getMessage() != null ? error.getMessage() : error);
            System.exit(1);
        }
    }

    static void generate(Path image, String prompt, Path target) throws Exception {
        Map<String, String> video = submit(image, prompt);
        System.out.println(video.get("id") + " is accepted");
        if (CALLBACK_URL != null) return;
        while (video.get("status").matches("queued|in_progress")) {
            HttpResponse<String> answer = ask(HttpRequest.newBuilder(URI.create(VIDEOS + "/" + video.get("id"))));
            video = fields(answer.body());
            System.out.println(video.get("status") + " " + video.get("progress") + " %");
            Thread.sleep(answer.headers().firstValueAsLong("openai-poll-after-ms").orElse(0));
        }
        if (!video.get("status").equals("completed"))
            throw new IOException("%s %s: %s (code %s)".formatted(
                video.get("id"), video.get("status"), video.get("error.message"), video.get("error.code")));
        save(video, target);
    }

    static Map<String, String> submit(Path image, String prompt) throws Exception {
        Map<String, String> form = new HashMap<>(Map.of("prompt", prompt, "size", "1280x720", "seconds", "4"));
        if (CALLBACK_URL != null) form.put("callback_url", CALLBACK_URL);
        String key = UUID.randomUUID().toString(); // in a backend: what the video is for, such as the order's number
        String boundary = "form-" + UUID.randomUUID();
        return fields(ask(HttpRequest.newBuilder(URI.create(VIDEOS))
            .header("Content-Type", "multipart/form-data; boundary=" + boundary)
            .header("Idempotency-Key", key)
            .POST(multipart(form, image, boundary))).body());
    }

    static BodyPublisher multipart(Map<String, String> form, Path image, String boundary) throws IOException {
        String part = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n";
        StringBuilder texts = new StringBuilder();
        form.forEach((name, text) -> texts.append(part.formatted(name, "")).append(text).append("\r\n"));
        return BodyPublishers.concat(
            BodyPublishers.ofString(texts + part.formatted("input_reference", "; filename=\"image\"")),
            BodyPublishers.ofFile(image),
            BodyPublishers.ofString("\r\n--" + boundary + "--\r\n"));
    }

    /** Every request may be repeated, the POST too: under one Idempotency-Key it makes one video. */
    static HttpResponse<String> ask(HttpRequest.Builder parts) throws Exception {
        HttpRequest request = parts.header("Authorization", "Bearer " + ENV.get("SORA_KEY"))
            .timeout(Duration.ofMinutes(1)).build();
        for (int tries = 1; ; tries++) {
            long pause = 500L * tries * tries;
            boolean passing = true;
            IOException reason;
            try {
                HttpResponse<String> answer = HTTP.send(request, BodyHandlers.ofString());
                if (answer.statusCode() < 300) return answer;
                reason = refusal(answer);
                passing = answer.statusCode() >= 500 || answer.statusCode() == 429;
                pause = answer.headers().firstValue("Retry-After").filter(text -> text.matches("\\d{1,3}"))
                    .map(seconds -> 1000 * Long.parseLong(seconds)).orElse(pause);
            } catch (IOException error) {
                reason = error;
            }
            if (!passing || tries == 5) throw reason;
            Thread.sleep(pause);
        }
    }

    static IOException refusal(HttpResponse<String> answer) {
        Map<String, String> told = fields(answer.body());
        String reason = told.get("error.message") == null ? answer.body() : "%s (code %s, param %s)".formatted(
            told.get("error.message"), told.get("error.code"), told.get("error.param"));
        return new IOException("HTTP " + answer.statusCode() + ": " + reason);
    }

    static void save(Map<String, String> video, Path target) throws Exception {
        // The link carries its own permission and is good for a day: the key stays out of it.
        HttpRequest request = HttpRequest.newBuilder(URI.create(video.get("url"))).build();
        HttpResponse<InputStream> answer = HTTP.send(request, BodyHandlers.ofInputStream());
        if (answer.statusCode() != 200) throw new IOException("the link was answered with HTTP " + answer.statusCode());
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        Path part = Path.of(target + ".part");
        try (InputStream in = answer.body(); OutputStream file = Files.newOutputStream(part)) {
            byte[] block = new byte[1 << 20];
            long length = 0;
            for (int count; (count = in.read(block)) > 0; ) {
                file.write(block, 0, count);
                digest.update(block, 0, count);
                System.out.printf("\r%d of %s bytes", length += count, video.get("content.bytes"));
            }
        }
        if (!HexFormat.of().formatHex(digest.digest()).equals(video.get("content.sha256")))
            throw new IOException("the download is damaged");
        // Half a file never bears the name of a whole one.
        Files.move(part, target, StandardCopyOption.REPLACE_EXISTING);
        System.out.println("\nsaved " + target);
    }

    static final Pattern TOKEN = Pattern.compile(
        "\"((?:[^\"\\\\]++|\\\\.)*+)\"(\\s*:)?|[{}\\[\\]]|[^\\s{}\\[\\],:\"]+");
    static final Pattern ESCAPE = Pattern.compile("\\\\(?:u(\\p{XDigit}{4})|(.))");

    /** Reads JSON into {"id": "video_1", "error.code": null}: the JDK has no reader for it; a backend has Jackson. */
    static Map<String, String> fields(String json) {
        Map<String, String> fields = new HashMap<>();
        Deque<String> outer = new ArrayDeque<>();
        String within = "", name = "";
        for (Matcher token = TOKEN.matcher(json); token.find(); ) {
            String text = token.group();
            if (token.group(2) != null) name = within + unescaped(token.group(1));
            else if (token.group(1) != null) fields.put(name, unescaped(token.group(1)));
            else if ("{[".contains(text)) {
                outer.push(within);
                within = name.isEmpty() ? "" : name + ".";
            } else if ("}]".contains(text)) within = outer.isEmpty() ? "" : outer.pop();
            else fields.put(name, text.equals("null") ? null : text);
        }
        return fields;
    }

    static String unescaped(String text) {
        return ESCAPE.matcher(text).replaceAll(escape -> Matcher.quoteReplacement(
            escape.group(1) != null ? Character.toString(Integer.parseInt(escape.group(1), 16))
                : switch (escape.group(2)) {
                    case "n" -> "\n";
                    case "r" -> "\r";
                    case "t" -> "\t";
                    case "b" -> "\b";
                    case "f" -> "\f";
                    default -> escape.group(2);
                }));
    }
}
