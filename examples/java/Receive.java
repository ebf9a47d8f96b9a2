// Receives callbacks: verifies each, answers at once, and saves the finished videos. It needs no API key.
// JDK 17 or newer, no library.
//
// SORA_WEBHOOK_SECRET=whsec_... PORT=9000 java Receive.java

import com.sun.net.httpserver.*;
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.time.Instant;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receive {
    static final int LARGEST = 1 << 20;
    static final String SECRET = System.getenv("SORA_WEBHOOK_SECRET");
    static final byte[] KEY = Base64.getDecoder().decode(SECRET.substring("whsec_".length()));
    static final HttpClient HTTP = HttpClient.newHttpClient();
    // In a backend both are in the database: what was answered with 204 is not sent again.
    static final ExecutorService WORK = Executors.newSingleThreadExecutor();
    static final Set<String> SEEN = ConcurrentHashMap.newKeySet();

    public static void main(String[] args) throws IOException {
        System.setProperty("sun.net.httpserver.maxReqTime", "10"); // seconds in which a request must be here
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "9000"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/hook", Receive::receive);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
    }

    static void receive(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readNBytes(LARGEST + 1);
            int status = body.length > LARGEST ? 413 : verified(exchange.getRequestHeaders(), body) ? 204 : 400;
            // A repeat has the id of the first.
            if (status == 204 && SEEN.add(exchange.getRequestHeaders().getFirst("webhook-id")))
                WORK.execute(() -> handle(fields(new String(body, StandardCharsets.UTF_8))));
            exchange.sendResponseHeaders(status, -1);
        }
    }

    /** Standard Webhooks: the HMAC of "id.timestamp.body", any of several signatures, at most five minutes off. */
    static boolean verified(Headers headers, byte[] body) {
        try {
            String id = headers.getFirst("webhook-id"), timestamp = headers.getFirst("webhook-timestamp");
            if (Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > 300) return false;
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(KEY, "HmacSHA256"));
            mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
            byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes();
            for (String signature : headers.getFirst("webhook-signature").split(" "))
                if (MessageDigest.isEqual(signature.getBytes(), expected)) return true; // in constant time
            return false;
        } catch (RuntimeException | GeneralSecurityException error) { // a header is missing or malformed
            return false;
        }
    }

    static void handle(Map<String, String> event) {
        String id = event.get("data.id");
        try {
            switch (event.get("type")) {
                case "video.completed" -> save(event, Path.of(id + ".mp4"));
                case "video.failed" -> System.out.printf(
                    "%s failed: %s (code %s)%n", id, event.get("data.error.message"), event.get("data.error.code"));
                default -> System.out.println(id + " " + event.get("type"));
            }
        } catch (Exception error) {
            System.out.println(id + " is not saved: " + error);
        }
    }

    static void save(Map<String, String> event, Path target) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(event.get("data.url"))).build();
        HttpResponse<InputStream> answer = HTTP.send(request, BodyHandlers.ofInputStream());
        if (answer.statusCode() != 200) throw new IOException("the link was answered with HTTP " + answer.statusCode());
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        Path part = Path.of(target + ".part");
        try (InputStream in = answer.body(); OutputStream file = Files.newOutputStream(part)) {
            in.transferTo(new DigestOutputStream(file, digest));
        }
        if (!HexFormat.of().formatHex(digest.digest()).equals(event.get("data.content.sha256")))
            throw new IOException("the download is damaged");
        // Half a file never bears the name of a whole one.
        Files.move(part, target, StandardCopyOption.REPLACE_EXISTING);
        System.out.println(event.get("data.id") + " is saved: " + target);
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
